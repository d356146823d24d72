# SGD: a short constant warm-up, then a cosine to zero. Configs set the length:
# max_iters, and T_max and end of the cosine.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4),
    clip_grad=dict(max_norm=0.01),
)
param_scheduler = [
    dict(type='ConstantLR', by_epoch=False, factor=0.005, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, eta_min=0, begin=0),
]
train_cfg = dict(type='IterBasedTrainLoop', val_interval=1000)
val_cfg = dict(type='ValLoop')
