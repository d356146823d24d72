_base_ = [
    '../_base_/models/maskclip_clip-vit-b16.py',
    '../_base_/test_sets/cityscapes.py',
    '../_base_/default_runtime.py',
]
model = dict(
    vocabulary='cityscapes-sclip',
    test_cfg=dict(crop_size=(224, 224), stride=(224, 224)),
)
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
