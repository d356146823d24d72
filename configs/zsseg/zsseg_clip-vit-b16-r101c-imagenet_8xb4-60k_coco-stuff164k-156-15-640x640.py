# COCO-Stuff, 156 seen and 15 unseen classes, 80 fixed templates.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_coco-stuff164k-156-15.py',
    '../_base_/test_sets/coco-stuff164k_156-15.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly.py',
]
model = dict(prompts=dict(templates='imagenet'))
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 60000
train_cfg = dict(max_iters=60000)
