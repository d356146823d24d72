# CAT-Seg at a size that two CPU cores train in minutes, on the toy CLIP of the
# package.
_base_ = [
    '../_base_/models/catseg_clip-vit-b16.py',
    '../_base_/models/toy-clip.py',
    '../_base_/datasets/toy_world.py',
    '../_base_/test_sets/toy_world.py',
    '../_base_/default_runtime.py',
]
model = dict(
    clip=dict(_delete_=True, finetune='attention', **_base_.toy_clip),
    prompts=_base_.toy_prompts,
    train_vocabulary=dict(
        _delete_=True, class_texts='toy_world', subset='seen'
    ),
    vocabulary='toy_world',
    backbone=dict(last_block='value', out_indices=(1, 2), input_size=None),
    neck=dict(in_channels=64, out_channels=(16, 16)),
    decode_head=dict(
        text_channels=64,
        appearance_channels=64,
        prompt_channels=3,
        embed_dims=32,
        pad_len=None,
        spatial=dict(guidance_dims=16, window_size=8),
        classwise=dict(guidance_dims=16, pooling=1),
        decoder=dict(
            guidance_channels=(16, 16), guidance_dims=(8, 8), dims=(24, 16)
        ),
        init_bias=-3.0,
    ),
    test_cfg=dict(
        crop_size=(64, 64), stride=(32, 32), canvas=None, global_view=False
    ),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
max_iters = 400
# CLIP at a twentieth of the learning rate.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=1e-4),
    paramwise_cfg=dict(lr_mult=dict(backbone=0.05, text_encoder=0.05)),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        T_max=max_iters,
        eta_min=0,
        begin=0,
        end=max_iters,
    )
]
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=10 * max_iters
)
val_cfg = dict(type='ValLoop')
default_hooks = dict(
    checkpoint=dict(interval=100),
    logger=dict(interval=25),
)
