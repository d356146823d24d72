# AdamW, warmed up for 100 iterations, then a cosine to zero: ten epochs of the
# 442,117 published masked crops, 256 at a time.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(
        type='AdamW', lr=5e-6, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2
    ),
    paramwise_cfg=dict(no_decay=['bias', 'class_embedding', 'logit_scale']),
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.01, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        T_max=17170,
        eta_min=0,
        begin=100,
        end=17270,
    ),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=17270, val_interval=1727)
val_cfg = dict(type='ValLoop')
