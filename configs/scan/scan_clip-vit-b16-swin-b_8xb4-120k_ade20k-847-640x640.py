# Trained on COCO-Stuff, tested on ADE20K-847.
_base_ = [
    '../_base_/models/scan_clip-vit-b16_swin-b.py',
    '../_base_/datasets/scan_coco-stuff164k_640x640.py',
    '../_base_/test_sets/ade20k-847.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-6e-5_poly-120k.py',
]
model = dict(
    vocabulary='ade847',
    decode_head=dict(
        ensemble_weight=0.75,
        # The vocabulary is large.
        keep_no_object=True,
    ),
    region_encoder=dict(mask_threshold=0.25, shift=dict(ratio=0.05)),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
