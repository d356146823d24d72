# Second stage: half of the schedule, from the middle of the first stage.
_base_ = [
    '../_base_/models/cascadeclip_clip-toy.py',
    '../_base_/datasets/toy_world.py',
    '../_base_/test_sets/toy_world.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-3_poly.py',
]
load_from = (
    'work_dirs/cascadeclip_clip-toy_1xb8-600_toy-world-64x64/iter_300.pth'
)
model = dict(
    train_vocabulary=dict(_delete_=True, class_texts='toy_world'),
    # Unseen classes were trained as well: their scores need no correction.
    test_cfg=dict(seen_penalty=0.0),
)
# Pixels of all unseen classes get one label, which differs from ignore_index.
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_prefix=dict(
            img_path='images/train_all', seg_map_path='annotations/train_all'
        ),
        unseen_labels='mark',
    ),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
max_iters = 300
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = max_iters
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=25))
