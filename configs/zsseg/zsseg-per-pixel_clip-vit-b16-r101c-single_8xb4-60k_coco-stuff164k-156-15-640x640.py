# COCO-Stuff, 156 seen and 15 unseen classes, the baseline without proposals,
# one fixed template.
_base_ = [
    '../_base_/models/zsseg-per-pixel_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_coco-stuff164k-156-15.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly-60k.py',
]
model = dict(prompts=dict(templates=['a sculpture of a {}.']))
