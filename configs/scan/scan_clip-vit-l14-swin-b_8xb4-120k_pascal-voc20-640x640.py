# Trained on COCO-Stuff, tested on the 20 objects of PASCAL VOC.
_base_ = [
    '../_base_/models/scan_clip-vit-l14_swin-b.py',
    '../_base_/datasets/pascal_voc20.py',
    '../_base_/datasets/scan_640x640.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-6e-5_poly-120k.py',
]
model = dict(
    vocabulary='voc20',
    decode_head=dict(ensemble_weight=0.65),
    region_encoder=dict(mask_threshold=0.2, shift=dict(ratio=0.1)),
)
crop_size = _base_.scan_crop_size
train_pipeline = _base_.scan_train_pipeline
tta_pipeline = _base_.scan_tta_pipeline
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
