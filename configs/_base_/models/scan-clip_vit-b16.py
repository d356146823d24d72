# The same for SCAN with CLIP ViT-B/16.
_base_ = ['./scan-clip_vit-l14.py']

model = dict(clip=dict(arch='ViT-B-16'))
