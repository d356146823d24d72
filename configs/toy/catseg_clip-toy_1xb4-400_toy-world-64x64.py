_base_ = [
    '../_base_/models/catseg_clip-toy.py',
    '../_base_/datasets/toy_world.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-3e-3_cosine-400.py',
]
default_hooks = dict(
    checkpoint=dict(interval=100),
    logger=dict(interval=25),
)
