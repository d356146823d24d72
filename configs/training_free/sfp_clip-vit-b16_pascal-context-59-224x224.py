_base_ = [
    '../_base_/models/sfp_clip-vit-b16.py',
    '../_base_/test_sets/pascal_context_59.py',
    '../_base_/default_runtime.py',
]
model = dict(vocabulary='pc59-table')
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
