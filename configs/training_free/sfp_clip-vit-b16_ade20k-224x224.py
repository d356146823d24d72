_base_ = [
    '../_base_/models/sfp_clip-vit-b16.py',
    '../_base_/test_sets/ade20k.py',
    '../_base_/default_runtime.py',
]
model = dict(vocabulary='ade150-sclip')
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2048, 384)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
