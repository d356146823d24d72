# CAT-Seg's first version, small and without chance.
_base_ = ['./tiny.py']

model = dict(
    data_preprocessor=dict(
        _delete_=True,
        type='SegDataPreProcessor',
        size=(64, 64),
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    clip=dict(finetune=['attn', 'position']),
    prompts=dict(templates='imagenet_select', synonyms='mean'),
    backbone=dict(
        _delete_=True,
        type='GuidedCLIP',
        clip=dict(type='CLIPViT', last_block='value', input_size=(64, 64)),
        guidance=dict(
            type='FusedSwinTransformer',
            embed_dims=8,
            depths=(1, 1, 1),
            num_heads=(1, 1, 1),
            window_size=4,
            drop_path_rate=0.0,
            out_indices=(0, 1, 2),
        ),
        frozen=('norm0',),
    ),
    text_encoder=dict(finetune='none'),
    neck=None,
    decode_head=dict(
        appearance_channels=32,
        prompt_channels=8,
        pad_len=None,
        classwise=dict(ffn_identity=True),
        decoder=dict(guidance_channels=(16, 8)),
        score='logits',
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(_delete_=True, lr_mult=dict(backbone=0.1))
)
