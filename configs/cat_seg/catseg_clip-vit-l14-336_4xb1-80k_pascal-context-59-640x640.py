# Trained on COCO-Stuff, tested on PASCAL-Context 59.
_base_ = [
    '../_base_/models/catseg_clip-vit-l14-336.py',
    '../_base_/datasets/pascal_context_59.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_cosine-80k.py',
]
model = dict(vocabulary='pc59')
env_cfg = dict(float32_matmul_precision='high')
