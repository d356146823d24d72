# Trained on COCO-Stuff (156 classes), tested on PASCAL-Context 459. The
# authors have no such config: constants of PASCAL-Context 59.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_pascal-context-459.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly-120k.py',
]
model = dict(
    vocabulary='pc459',
    decode_head=dict(ensemble_weight=0.4),
    region_encoder=dict(mask_threshold=0.5),
)
