# COCO-Stuff, 156 seen and 15 unseen classes, 80 fixed templates.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_coco-stuff164k-156-15.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly-60k.py',
]
model = dict(prompts=dict(templates='imagenet'))
