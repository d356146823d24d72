# Cascade-CLIP at a size that two CPU cores train in minutes, on the toy CLIP
# that comes with the package (tools/train_toy_clip.py makes it).
_base_ = ['./cascadeclip_clip-vit-b16.py', './toy-clip.py']

# CLIP's statistics, with which the toy CLIP was trained.
data_preprocessor = dict(
    mean=[122.7709383, 116.7460125, 104.09373615],
    std=[68.5005327, 66.6321579, 70.3231630],
    size=(64, 64),
)
model = dict(
    data_preprocessor=data_preprocessor,
    clip=dict(_delete_=True, finetune='none', **_base_.toy_clip),
    prompts=_base_.toy_prompts,
    train_vocabulary=dict(class_texts='toy_world', subset='seen'),
    vocabulary='toy_world',
    backbone=dict(
        last_block='value',
        out_indices=(1, 2),
        pos_image_size=None,
        double_class_embedding=False,
        prompts=dict(depth=4, length=4, dropout=0.0, norm=False),
    ),
    neck=dict(in_channels=64, out_channels=64, num_levels=2),
    decode_head=dict(
        embed_dims=64, group_sizes=(2, 1), num_heads=4, dropout=0.0
    ),
    test_cfg=dict(crop_size=(64, 64), stride=(32, 32), score_size=(64, 64)),
)
