# NACLIP (WACV 2025); scores are refined along the edges of the image.
_base_ = './training-free_clip-vit-b16.py'

model = dict(
    backbone=dict(last_block=dict(type='NACLIPBlock')),
    test_cfg=dict(refine=dict(steps=10, dilations=(8, 16))),
)
