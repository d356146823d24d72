_base_ = [
    '../_base_/models/scclip_clip-vit-b16.py',
    '../_base_/test_sets/cityscapes.py',
    '../_base_/default_runtime.py',
]
model = dict(vocabulary='cityscapes-sclip')
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2048, 560)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
