# CAT-Seg (CVPR 2024) on CLIP ViT-L/14 at 336 pixels.
_base_ = ['./catseg_clip-vit-b16.py']

model = dict(
    clip=dict(arch='ViT-L-14-336'),
    backbone=dict(out_indices=(7, 15), input_size=(336, 336)),
    neck=dict(in_channels=1024),
    decode_head=dict(text_channels=768, appearance_channels=768),
)
