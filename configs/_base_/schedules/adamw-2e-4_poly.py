# AdamW on all trainable parameters, norms and biases included: warm-up, then a
# polynomial decay. Configs set the length: max_iters, val_interval and the end
# of the decay.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.01),
)
param_scheduler = [
    dict(
        type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500
    ),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, by_epoch=False, begin=0),
]
train_cfg = dict(type='IterBasedTrainLoop')
val_cfg = dict(type='ValLoop')
