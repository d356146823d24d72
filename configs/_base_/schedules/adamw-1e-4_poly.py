# AdamW with a polynomial decay to zero, the backbone at a tenth of the
# learning rate. Configs set the length: max_iters and the end of the decay.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    paramwise_cfg=dict(lr_mult=dict(backbone=0.1)),
    clip_grad=dict(max_norm=0.01),
)
param_scheduler = [
    dict(type='PolyLR', by_epoch=False, power=0.9, eta_min=0, begin=0)
]
train_cfg = dict(type='IterBasedTrainLoop', val_interval=5000)
val_cfg = dict(type='ValLoop')
