# Second stage: half of the schedule, from the middle of the first stage.
_base_ = [
    '../_base_/models/cascadeclip_clip-vit-b16.py',
    '../_base_/datasets/pascal_voc20_15-5.py',
    '../_base_/test_sets/pascal_voc20_15-5.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_poly.py',
]
load_from = (
    'work_dirs/cascadeclip_clip-vit-b16_4xb4-20k_pascal-voc20-15-5-512x512/'
    'iter_10000.pth'
)
model = dict(
    prompts=dict(templates=['a photo of a {}']),
    vocabulary='voc20-15-5',
    train_vocabulary='voc20-15-5',
    backbone=dict(prompts=dict(length=10)),
    # Unseen classes were trained as well: their scores need no correction.
    test_cfg=dict(seen_penalty=0.0),
)
# Pixels of all unseen classes get one label, which differs from ignore_index.
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        datasets=[
            dict(dataset, unseen_labels='mark')
            for dataset in _base_.train_dataloader.dataset.datasets
        ]
    ),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 10000
train_cfg = dict(max_iters=10000, val_interval=5000)
default_hooks = dict(checkpoint=dict(interval=1000))
