_base_ = [
    '../_base_/models/scan_clip-vit-l14_swin-b.py',
    '../_base_/datasets/coco-stuff164k.py',
    '../_base_/datasets/scan_640x640.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-6e-5_poly-120k.py',
]
crop_size = _base_.scan_crop_size
train_pipeline = _base_.scan_train_pipeline
tta_pipeline = _base_.scan_tta_pipeline
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
