# SGD with a cosine to zero over 3200 iterations after a short warm-up.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4),
    clip_grad=dict(max_norm=0.01),
)
param_scheduler = [
    dict(type='ConstantLR', by_epoch=False, factor=0.005, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        T_max=3200,
        eta_min=0,
        begin=0,
        end=3200,
    ),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=3200, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
