# Second stage: half of the schedule, from the middle of the first stage.
_base_ = [
    '../_base_/models/cascadeclip_clip-vit-b16.py',
    '../_base_/datasets/coco-stuff164k_156-15.py',
    '../_base_/test_sets/coco-stuff164k_156-15.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_poly.py',
]
load_from = (
    'work_dirs/cascadeclip_clip-vit-b16_4xb4-80k_coco-stuff164k-156-15-512x512/'
    'iter_40000.pth'
)
model = dict(
    vocabulary='coco-156-15',
    train_vocabulary='coco-156-15',
    backbone=dict(prompts=dict(length=50)),
    # Unseen classes were trained as well: their scores need no correction.
    test_cfg=dict(seen_penalty=0.0),
)
# Pixels of all unseen classes get one label, which differs from ignore_index.
train_dataloader = dict(dataset=dict(unseen_labels='mark'))
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 40000
train_cfg = dict(max_iters=40000, val_interval=20000)
default_hooks = dict(checkpoint=dict(interval=4000))
