# AdamW with a polynomial decay to zero over 60k iterations, the backbone at a
# tenth.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(lr_mult=dict(backbone=0.1)),
    clip_grad=dict(max_norm=0.01),
)
param_scheduler = [
    dict(
        type='PolyLR', by_epoch=False, power=0.9, eta_min=0, begin=0, end=60000
    )
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=60000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
