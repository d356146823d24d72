_base_ = [
    '../_base_/models/cascadeclip_clip-vit-b16.py',
    '../_base_/datasets/coco-stuff164k_156-15.py',
    '../_base_/test_sets/coco-stuff164k_156-15.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_poly.py',
]
model = dict(
    vocabulary='coco-156-15',
    train_vocabulary=dict(class_texts='coco-156-15', subset='seen'),
    backbone=dict(prompts=dict(length=50)),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 80000
train_cfg = dict(max_iters=80000, val_interval=40000)
# Keeps the checkpoint of the middle of the schedule: the second stage starts
# from it.
default_hooks = dict(checkpoint=dict(interval=8000, max_keep_ckpts=6))
