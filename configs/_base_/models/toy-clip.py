# The CLIP that comes with the package (tools/train_toy_clip.py makes it), for
# models of the toy world: their configs take both from here.
toy_clip = dict(
    arch=dict(
        embed_dim=64,
        vision_cfg=dict(
            image_size=128, layers=4, width=64, head_width=16, patch_size=8
        ),
        text_cfg=dict(width=64, heads=4, layers=3),
    ),
    # A relative path is looked for here, then beside the package.
    custom_clip_weights='data/toy_clip.safetensors',
)
toy_prompts = dict(templates=['{}', 'a {}', 'a photo of a {}'])
