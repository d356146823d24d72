# MaskCLIP (ECCV 2022) as ClearCLIP and later methods compare with it: images
# and windows of ClearCLIP.
_base_ = './training-free_clip-vit-b16.py'

model = dict(
    backbone=dict(last_block=dict(type='MaskCLIPBlock')),
    test_cfg=dict(
        crop_size=(448, 448),
        stride=(224, 224),
        window_divisor='patch',
        logit_scale=50.0,
    ),
)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2048, 448)
