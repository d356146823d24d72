# AdamW on all that is trained, norms and biases included; warm-up, then a
# polynomial decay over 80k iterations.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.01),
)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500
    ),
    dict(
        type='PolyLR',
        power=0.9,
        eta_min=1e-6,
        by_epoch=False,
        begin=0,
        end=80000,
    ),
]
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=80000, val_interval=40000
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
