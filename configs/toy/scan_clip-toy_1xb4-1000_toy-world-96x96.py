_base_ = [
    '../_base_/models/scan_clip-toy.py',
    '../_base_/datasets/toy_world.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-3_cosine-1000.py',
]
crop_size = (96, 96)
train_pipeline = _base_.train_pipeline
train_pipeline[2].crop_size = crop_size
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
default_hooks = dict(checkpoint=dict(interval=250), logger=dict(interval=50))
