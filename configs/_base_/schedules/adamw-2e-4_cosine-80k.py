# AdamW with a cosine to zero over 80k iterations, CLIP at a hundredth.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4),
    paramwise_cfg=dict(lr_mult=dict(backbone=0.01, text_encoder=0.01)),
    clip_grad=dict(max_norm=0.01),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        T_max=80000,
        eta_min=0,
        begin=0,
        end=80000,
    )
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=80000, val_interval=5000)
val_cfg = dict(type='ValLoop')
