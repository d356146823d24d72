# AdamW with a warm-up and a cosine to zero over 80k iterations, both backbones
# at a hundredth, weight decay on everything.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW', lr=2e-4, betas=(0.9, 0.999), weight_decay=1e-4
    ),
    paramwise_cfg=dict(lr_mult=dict(backbone=0.01), norm_decay=True),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=500),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        T_max=79500,
        eta_min=0,
        begin=500,
        end=80000,
    ),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=80000, val_interval=4000)
val_cfg = dict(type='ValLoop')
