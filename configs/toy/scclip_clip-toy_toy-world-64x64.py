_base_ = [
    '../_base_/models/training-free_clip-toy.py',
    '../_base_/test_sets/toy_world.py',
    '../_base_/default_runtime.py',
]
model = dict(backbone=dict(last_block=dict(type='SCCLIPBlock')))
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
