_base_ = [
    '../_base_/models/naclip_clip-vit-b16.py',
    '../_base_/test_sets/coco-object.py',
    '../_base_/default_runtime.py',
]
model = dict(
    vocabulary='coco_object-sclip',
    test_cfg=dict(prob_thd=0.1),
)
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
