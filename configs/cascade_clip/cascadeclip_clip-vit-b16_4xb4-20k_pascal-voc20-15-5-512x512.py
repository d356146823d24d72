_base_ = [
    '../_base_/models/cascadeclip_clip-vit-b16.py',
    '../_base_/datasets/pascal_voc20_15-5.py',
    '../_base_/test_sets/pascal_voc20_15-5.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_poly.py',
]
model = dict(
    prompts=dict(templates=['a photo of a {}']),
    vocabulary='voc20-15-5',
    train_vocabulary=dict(class_texts='voc20-15-5', subset='seen'),
    backbone=dict(prompts=dict(length=10)),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 20000
train_cfg = dict(max_iters=20000, val_interval=10000)
# Keeps the checkpoint of the middle of the schedule: the second stage starts
# from it.
default_hooks = dict(checkpoint=dict(interval=2000, max_keep_ckpts=6))
