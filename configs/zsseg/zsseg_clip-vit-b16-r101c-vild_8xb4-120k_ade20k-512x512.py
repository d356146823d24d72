# Trained on COCO-Stuff (156 classes), tested on ADE20K-150.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_ade20k.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly-120k.py',
]
model = dict(
    vocabulary='ade150-synonyms',
    decode_head=dict(ensemble_weight=0.5),
    region_encoder=dict(mask_threshold=0.4),
)
