# AdamW, warmed up and polynomial to zero over 120k iterations.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=6e-5, weight_decay=0.01),
    paramwise_cfg=dict(no_decay=['relative_position_bias_table']),
    clip_grad=dict(max_norm=0.01),
)
param_scheduler = [
    dict(
        type='LinearLR', by_epoch=False, start_factor=1e-6, begin=0, end=1501
    ),
    dict(
        type='PolyLR',
        by_epoch=False,
        power=0.9,
        eta_min=0,
        begin=0,
        end=120001,
    ),
]
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=120000, val_interval=5000
)
val_cfg = dict(type='ValLoop')
