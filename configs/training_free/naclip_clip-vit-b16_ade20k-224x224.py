_base_ = [
    '../_base_/models/naclip_clip-vit-b16.py',
    '../_base_/test_sets/ade20k.py',
    '../_base_/default_runtime.py',
]
model = dict(vocabulary='ade150-sclip')
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
