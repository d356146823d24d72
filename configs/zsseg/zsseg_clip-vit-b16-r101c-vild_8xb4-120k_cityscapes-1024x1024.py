# Trained on COCO-Stuff (156 classes), tested on Cityscapes.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_coco-stuff164k-156-15.py',
    '../_base_/test_sets/cityscapes.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly.py',
]
model = dict(
    vocabulary='cityscapes',
    decode_head=dict(ensemble_weight=0.4),
    region_encoder=dict(mask_threshold=0.3),
)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2048, 1024)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=(3584, short), keep_ratio=True, backend='pillow')
    # 0.5 to 1.75 times the size of the test
    for short in range(512, 1793, 256)
]
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = test_pipeline
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 120000
train_cfg = dict(max_iters=120000)
