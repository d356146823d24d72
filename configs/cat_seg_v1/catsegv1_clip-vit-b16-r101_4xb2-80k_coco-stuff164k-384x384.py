_base_ = [
    '../_base_/models/catsegv1_clip-vit-b16-r101.py',
    '../_base_/datasets/coco-stuff164k_384x384.py',
    '../_base_/test_sets/coco-stuff164k.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_warmup-cosine-80k.py',
]
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
default_hooks = dict(checkpoint=dict(interval=4000))
