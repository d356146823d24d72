# Trained on COCO-Stuff, tested on the 59 classes of PASCAL-Context.
_base_ = [
    '../_base_/models/scan_clip-vit-b16_swin-b.py',
    '../_base_/datasets/scan_coco-stuff164k_640x640.py',
    '../_base_/test_sets/pascal_context_59.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-6e-5_poly-120k.py',
]
model = dict(
    vocabulary='pc59-table',
    decode_head=dict(ensemble_weight=0.35),
    region_encoder=dict(mask_threshold=0.25, shift=dict(ratio=0.05)),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.update(
    vocabulary='pc59-table', pipeline=_base_.test_pipeline
)
val_dataloader = test_dataloader
