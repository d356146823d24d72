# For GPUs that a whole model does not fit.
_base_ = [
    './catsegv1_clip-vit-h14-swin-b_4xb1-80k_coco-stuff164k-384x384.py',
    '../_base_/strategies/fsdp.py',
]
