# ZSSeg on R-50.
_base_ = ['./zsseg_clip-vit-b16_r101c.py']

model = dict(
    backbone=dict(
        type='ResNet',
        depth=50,
        stem_channels=64,
        multi_grid=None,
        init_cfg=dict(checkpoint='torchvision://resnet50'),
    )
)
