# MaskCLIP (ECCV 2022) as ClearCLIP and later methods compare with it.
_base_ = './clearclip_clip-vit-b16.py'

model = dict(
    backbone=dict(last_block=dict(_delete_=True, type='MaskCLIPBlock'))
)
