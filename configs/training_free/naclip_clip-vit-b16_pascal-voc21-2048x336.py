_base_ = [
    '../_base_/models/naclip_clip-vit-b16.py',
    '../_base_/test_sets/pascal_voc21.py',
    '../_base_/default_runtime.py',
]
model = dict(
    vocabulary='voc21-sclip',
    test_cfg=dict(mode='whole', score_size='input', prob_thd=0.1),
)
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
