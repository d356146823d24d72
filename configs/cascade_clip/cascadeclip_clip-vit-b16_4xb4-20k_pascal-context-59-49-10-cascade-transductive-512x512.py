# The 49/10 split of the authors' code: the usual indices in another class
# order, so its unseen classes differ from those of other papers.
# Second stage: half of the schedule, from the middle of the first stage.
_base_ = [
    '../_base_/models/cascadeclip_clip-vit-b16.py',
    '../_base_/datasets/pascal_context_59_49-10.py',
    '../_base_/test_sets/pascal_context_59_49-10.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_poly.py',
]
load_from = (
    'work_dirs/cascadeclip_clip-vit-b16_4xb4-40k_pascal-context-59-49-10-cascade-512x512/'
    'iter_20000.pth'
)
model = dict(
    vocabulary='pc59-49-10-cascade',
    train_vocabulary='pc59-49-10-cascade',
    backbone=dict(prompts=dict(length=35)),
    # Unseen classes were trained as well: their scores need no correction.
    test_cfg=dict(seen_penalty=0.0),
)
# Pixels of all unseen classes get one label, which differs from ignore_index.
train_dataloader = dict(
    dataset=dict(vocabulary='pc59-49-10-cascade', unseen_labels='mark')
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.update(
    vocabulary='pc59-49-10-cascade', pipeline=_base_.test_pipeline
)
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 20000
train_cfg = dict(max_iters=20000, val_interval=10000)
default_hooks = dict(checkpoint=dict(interval=2000))
