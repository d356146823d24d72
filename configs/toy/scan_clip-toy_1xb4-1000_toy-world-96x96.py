# SCAN at a size that two CPU cores train in minutes, on the toy CLIP of the
# package.
_base_ = [
    '../_base_/models/scan_clip-vit-l14_swin-b.py',
    '../_base_/models/toy-clip.py',
    '../_base_/datasets/toy_world.py',
    '../_base_/test_sets/toy_world.py',
    '../_base_/default_runtime.py',
]
model = dict(
    clip=dict(_delete_=True, finetune='none', **_base_.toy_clip),
    prompts=_base_.toy_prompts,
    train_vocabulary=dict(
        _delete_=True, class_texts='toy_world', subset='seen'
    ),
    vocabulary='toy_world',
    # A Swin Transformer needs more than minutes to learn from nothing.
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=18,
        base_channels=16,
        stem_channels=16,
        out_indices=(0, 1, 2, 3),
        # Scenes are small: the last map has a sixteenth of their sides.
        strides=(1, 1, 2, 2),
        dilations=(1, 1, 1, 1),
        norm_cfg=dict(type='BN', requires_grad=True),
        style='pytorch',
    ),
    neck=dict(
        in_channels=(16, 32, 64, 128),
        embed_dims=64,
        mask_channels=64,
        num_heads=4,
        num_points=2,
        num_layers=1,
        feedforward_dims=128,
    ),
    context_encoder=dict(clip=dict(out_indices=(0, 1, 2, 3))),
    decode_head=dict(
        text_channels=64,
        temperature=20.0,
        proposals=dict(
            mask_channels=64,
            embedding_channels=64,
            hidden_channels=64,
            decoder=dict(
                num_queries=20,
                embed_dims=64,
                num_heads=4,
                num_layers=3,
                skip_penultimate=False,
                feedforward_dims=128,
            ),
        ),
        integration=dict(
            in_channels=64,
            embed_dims=64,
            blocks=(1, 2, 3),
            num_heads=4,
            num_fusion_layers=2,
            num_encoder_layers=2,
            feedforward_dims=128,
            dropout=0.0,
        ),
        loss_decode=dict(num_points=400),
    ),
    # The toy CLIP's class token knows whole scenes only.
    region_encoder=dict(
        clip=dict(last_block='value'),
        region_size=48,
        pooling='mask',
        mask_threshold=0.7,
        shift=dict(blocks=(0, 1), ratio=0.15),
    ),
    # Scenes are larger than training crops, and things in them would be
    # smaller against the image than any that was trained with.
    test_cfg=dict(
        mode='slide',
        crop_size=(96, 96),
        stride=(48, 48),
        # The toy CLIP knows no other words.
        others_of_one='toy_world',
    ),
)
crop_size = (96, 96)
train_pipeline = _base_.train_pipeline
train_pipeline[2].crop_size = crop_size
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
max_iters = 1000
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        T_max=max_iters,
        eta_min=0,
        begin=0,
        end=max_iters,
    ),
]
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=10 * max_iters
)
val_cfg = dict(type='ValLoop')
default_hooks = dict(checkpoint=dict(interval=250), logger=dict(interval=50))
