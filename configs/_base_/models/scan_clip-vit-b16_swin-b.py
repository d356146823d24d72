# SCAN with CLIP ViT-B/16.
_base_ = ['./scan_clip-vit-l14_swin-b.py']

model = dict(
    clip=dict(arch='ViT-B-16'),
    context_encoder=dict(clip=dict(out_indices=(0, 2, 4, 5, 8, 11))),
    decode_head=dict(
        text_channels=512,
        proposals=dict(embedding_channels=512),
        integration=dict(in_channels=768, embed_dims=512, blocks=(5, 8, 11)),
    ),
    region_encoder=dict(shift=dict(blocks=(0, 2, 4))),
)
