_base_ = [
    '../_base_/models/scan_clip-vit-b16_swin-b.py',
    '../_base_/datasets/scan_coco-stuff164k_640x640.py',
    '../_base_/test_sets/coco-stuff164k.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-6e-5_poly-120k.py',
]
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
