# CLIP with contextual shift, fine-tuned on masked crops for SCAN's regions.
model = dict(
    type='ShiftedCLIP',
    clip=dict(
        arch='ViT-L-14',
        pretrained='datacomp_xl_s13b_b90k',
        # File or folder of weights to read instead of the hub.
        custom_clip_weights=None,
    ),
    prompts=dict(
        templates='imagenet', synonyms='whole', average_templates=True
    ),
    # With synonyms, in one text: 'road, route'.
    vocabulary='ade150-synonyms',
    region_encoder=dict(
        type='CLIPRegionEncoder',
        clip=dict(type='CLIPViT', finetune='all'),
        # Blocks are counted from 0.
        shift=dict(blocks=(0, 2, 4, 6, 8), ratio=0.15, seed=0),
        batch_size=64,
    ),
    context_encoder=dict(
        type='CLIPContextEncoder',
        clip=dict(
            type='CLIPViT', finetune='none', out_indices=(0, 2, 4, 6, 8)
        ),
    ),
    text_encoder=dict(type='CLIPTextTransformer', finetune='none'),
)
