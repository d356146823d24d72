# Trained on COCO-Stuff (156 classes), tested on ADE20K-150.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_short-side-512.py',
    '../_base_/test_sets/ade20k.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly.py',
]
model = dict(
    vocabulary='ade150-synonyms',
    decode_head=dict(ensemble_weight=0.5),
    region_encoder=dict(mask_threshold=0.4),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.update(
    vocabulary='ade150-synonyms', pipeline=_base_.test_pipeline
)
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 120000
train_cfg = dict(max_iters=120000)
