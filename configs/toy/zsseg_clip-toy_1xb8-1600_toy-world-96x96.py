# Proposals are learned from nothing: crops are large enough to hold several
# objects, and batches larger.
_base_ = [
    '../_base_/models/zsseg_clip-toy.py',
    '../_base_/datasets/toy_world.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-3_cosine-1600.py',
]
crop_size = (96, 96)
train_pipeline = _base_.train_pipeline
train_pipeline[2].crop_size = crop_size
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
default_hooks = dict(checkpoint=dict(interval=400), logger=dict(interval=50))
