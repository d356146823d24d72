# The 49/10 split that most papers report.
_base_ = [
    '../_base_/models/cascadeclip_clip-vit-b16.py',
    '../_base_/datasets/pascal_context_59_49-10.py',
    '../_base_/test_sets/pascal_context_59_49-10.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_poly.py',
]
model = dict(
    vocabulary='pc59-49-10',
    train_vocabulary=dict(class_texts='pc59-49-10', subset='seen'),
    backbone=dict(prompts=dict(length=35)),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 40000
train_cfg = dict(max_iters=40000, val_interval=20000)
# Keeps the checkpoint of the middle of the schedule: the second stage starts
# from it.
default_hooks = dict(checkpoint=dict(interval=4000, max_keep_ckpts=6))
