_base_ = [
    '../_base_/models/catsegv1_clip-vit-b16-r101.py',
    '../_base_/datasets/coco-stuff164k_384x384.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_warmup-cosine-80k.py',
]
default_hooks = dict(checkpoint=dict(interval=4000))
