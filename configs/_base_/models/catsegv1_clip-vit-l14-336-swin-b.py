# CAT-Seg, first version, on CLIP ViT-L/14 at 336 pixels with guidance of a
# Swin-B.
_base_ = ['./catsegv1_clip-vit-b16-r101.py']

swin_weights = (
    'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/'
    'swin_base_patch4_window12_384_20220317-55b0104a.pth'
)
model = dict(
    clip=dict(arch='ViT-L-14-336'),
    backbone=dict(
        clip=dict(input_size=(336, 336)),
        guidance=dict(
            _delete_=True,
            type='FusedSwinTransformer',
            pretrain_img_size=384,
            embed_dims=128,
            depths=[2, 2, 18],
            num_heads=[4, 8, 16],
            strides=(4, 2, 2),
            window_size=12,
            mlp_ratio=4,
            qkv_bias=True,
            qk_scale=None,
            drop_rate=0.0,
            attn_drop_rate=0.0,
            drop_path_rate=0.3,
            patch_norm=True,
            out_indices=(0, 1, 2),
            init_cfg=dict(type='Pretrained', checkpoint=swin_weights),
        ),
    ),
    decode_head=dict(
        text_channels=768,
        appearance_channels=512,
        decoder=dict(guidance_channels=(256, 128)),
    ),
)
