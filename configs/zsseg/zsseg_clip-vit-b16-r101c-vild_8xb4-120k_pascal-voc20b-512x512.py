# Trained on COCO-Stuff (156 classes), tested on PASCAL VOC with background.
# The authors have no such config: constants of their PASCAL VOC.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_short-side-512.py',
    '../_base_/test_sets/pascal_voc20b.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly.py',
]
model = dict(
    vocabulary='voc20b',
    decode_head=dict(ensemble_weight=0.4),
    region_encoder=dict(mask_threshold=0.5),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 120000
train_cfg = dict(max_iters=120000)
