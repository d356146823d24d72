_base_ = [
    '../_base_/models/clearclip_clip-vit-b16.py',
    '../_base_/test_sets/coco-stuff164k.py',
    '../_base_/default_runtime.py',
]
model = dict(vocabulary='coco-sclip')
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
