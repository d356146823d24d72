_base_ = [
    '../_base_/models/sclip_clip-vit-b16.py',
    '../_base_/test_sets/pascal_voc20.py',
    '../_base_/default_runtime.py',
]
model = dict(vocabulary='voc20-sclip')
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
