# AdamW with a cosine to zero over 400 iterations, CLIP at a twentieth.
max_iters = 400
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
test_cfg = dict(type='TestLoop')
