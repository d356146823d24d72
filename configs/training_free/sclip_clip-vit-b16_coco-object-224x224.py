_base_ = [
    '../_base_/models/sclip_clip-vit-b16.py',
    '../_base_/test_sets/coco-object.py',
    '../_base_/default_runtime.py',
]
model = dict(
    vocabulary='coco_object-sclip',
    test_cfg=dict(logit_scale=50.0, prob_thd=0.1),
)
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
