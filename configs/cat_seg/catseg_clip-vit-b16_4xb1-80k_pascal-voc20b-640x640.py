# Trained on COCO-Stuff, tested on PASCAL VOC 20b.
_base_ = [
    '../_base_/models/catseg_clip-vit-b16.py',
    '../_base_/datasets/pascal_voc20b.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_cosine-80k.py',
]
model = dict(vocabulary='voc20b')
env_cfg = dict(float32_matmul_precision='high')
