# Unseen classes are in the training scenes; their labels are ignored.
_base_ = [
    '../_base_/models/cascadeclip_clip-toy.py',
    '../_base_/datasets/toy_world.py',
    '../_base_/test_sets/toy_world.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-3_poly.py',
]
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_prefix=dict(
            img_path='images/train_all', seg_map_path='annotations/train_all'
        ),
        unseen_labels='ignore',
    ),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
max_iters = 600
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = max_iters
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
# Keeps the checkpoint of the middle of the schedule: the second stage starts
# from it.
default_hooks = dict(
    checkpoint=dict(interval=100, max_keep_ckpts=6), logger=dict(interval=25)
)
