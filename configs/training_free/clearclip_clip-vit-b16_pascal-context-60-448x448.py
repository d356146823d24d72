_base_ = [
    '../_base_/models/clearclip_clip-vit-b16.py',
    '../_base_/test_sets/pascal_context_60.py',
    '../_base_/default_runtime.py',
]
model = dict(
    vocabulary='pc60',
    test_cfg=dict(prob_thd=0.15),
)
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
