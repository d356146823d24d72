# PASCAL VOC, 15 seen and 5 unseen objects, one fixed template.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_pascal-voc20-15-5.py',
    '../_base_/test_sets/pascal_voc20_15-5.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly.py',
]
model = dict(
    train_vocabulary=dict(class_texts='voc20-15-5'),
    vocabulary='voc20-15-5',
    prompts=dict(templates=['a sculpture of a {}.']),
    decode_head=dict(ensemble_weight=0.7),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 20000
train_cfg = dict(max_iters=20000)
