_base_ = [
    '../_base_/models/maskclip-original_clip-vit-b16.py',
    '../_base_/test_sets/pascal_context_59.py',
    '../_base_/default_runtime.py',
]
model = dict(vocabulary='pc59-maskclip')
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (520, 520)
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
