# Trained on COCO-Stuff, tested on PASCAL VOC 20.
_base_ = [
    '../_base_/models/catseg_clip-vit-l14-336.py',
    '../_base_/datasets/pascal_voc20.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_cosine-80k.py',
]
model = dict(vocabulary='voc20')
env_cfg = dict(float32_matmul_precision='high')
