# Trained on COCO-Stuff, tested on the 20 objects of PASCAL VOC.
_base_ = [
    '../_base_/models/scan_clip-vit-l14_swin-b.py',
    '../_base_/datasets/scan_coco-stuff164k_640x640.py',
    '../_base_/test_sets/pascal_voc20.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-6e-5_poly-120k.py',
]
model = dict(
    vocabulary='voc20',
    decode_head=dict(ensemble_weight=0.65),
    region_encoder=dict(mask_threshold=0.2, shift=dict(ratio=0.1)),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
