_base_ = './adamw-1e-4_poly-60k.py'

param_scheduler = [
    dict(
        type='PolyLR',
        by_epoch=False,
        power=0.9,
        eta_min=0,
        begin=0,
        end=20000,
    )
]
train_cfg = dict(max_iters=20000)
