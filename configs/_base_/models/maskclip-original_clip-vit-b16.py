# MaskCLIP as its own repository computes it: whole images, ImageNet's
# statistics, GELU and norms with which CLIP was not trained.
_base_ = './training-free_clip-vit-b16.py'

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    clip=dict(
        _delete_=True,
        arch=dict(
            embed_dim=512,
            vision_cfg=dict(
                image_size=224,
                layers=12,
                width=768,
                patch_size=16,
                norm_kwargs=dict(eps=1e-6),
            ),
            text_cfg=dict(width=512, heads=8, layers=12),
        ),
        # No tag of the hub: weights of OpenAI, but without their QuickGELU.
        # Converted by python -m ovseg_mm.
        custom_clip_weights=None,
    ),
    prompts=dict(templates='maskclip', synonyms='first'),
    backbone=dict(
        pos_interpolation='bicubic',
        pad_patches=True,
        last_block=dict(type='MaskCLIPBlock', give_keys=True),
    ),
    # Key smoothing and prompt denoising are off, as there.
    decode_head=dict(
        type='MaskCLIPHead', denoise_below=None, smooth_below=None
    ),
    test_cfg=dict(_delete_=True, mode='whole', score_size='input'),
)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2048, 512)
