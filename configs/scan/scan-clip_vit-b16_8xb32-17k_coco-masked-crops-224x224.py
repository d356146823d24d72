# CLIP with contextual shift, to be fused with a segmentor of SCAN.
_base_ = [
    '../_base_/models/scan-clip_vit-l14.py',
    '../_base_/datasets/masked-crops_coco-stuff164k.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-5e-6_cosine-17k.py',
]
model = dict(clip=dict(arch='ViT-B-16'))
