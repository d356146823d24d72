# ZSSeg at a size that two CPU cores train in minutes, on the toy CLIP of the
# package. Proposals are learned from nothing: crops are large enough for
# several objects, and batches larger.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r50.py',
    '../_base_/models/toy-clip.py',
    '../_base_/datasets/toy_world.py',
    '../_base_/test_sets/toy_world.py',
    '../_base_/default_runtime.py',
]
model = dict(
    clip=dict(_delete_=True, finetune='none', **_base_.toy_clip),
    prompts=_base_.toy_prompts,
    train_vocabulary=dict(class_texts='toy_world'),
    vocabulary='toy_world',
    # There are no weights to start from: norms and all are trained.
    backbone=dict(
        type='ResNetV1c',
        depth=18,
        base_channels=32,
        stem_channels=32,
        # Scenes are small: the last map has an eighth of their sides.
        num_stages=3,
        out_indices=(0, 1, 2),
        strides=(1, 2, 1),
        dilations=(1, 1, 1),
        norm_cfg=dict(requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(
        in_channels=(32, 64, 128),
        embed_dims=48,
        mask_channels=48,
        norm_cfg=dict(type='GN', num_groups=8),
    ),
    decode_head=dict(
        text_channels=64,
        temperature=20.0,
        proposals=dict(
            mask_channels=48,
            embedding_channels=64,
            hidden_channels=64,
            decoder=dict(
                in_channels=128,
                num_queries=20,
                embed_dims=64,
                num_heads=4,
                num_layers=3,
                feedforward_dims=128,
                dropout=0.0,
            ),
        ),
        loss_decode=dict(
            class_weight=2.0,
            mask_weight=5.0,
            dice_weight=5.0,
            no_object_weight=0.2,
            mask_loss='bce',
        ),
    ),
    size_divisor=8,
    # The toy CLIP's class token knows whole scenes only.
    region_encoder=dict(
        clip=dict(last_block='value'), region_size=48, pooling='mask'
    ),
    # Windows as large as training crops: few iterations do not teach proposals
    # what larger images look like.
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
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
max_iters = 1600
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=50),
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
default_hooks = dict(checkpoint=dict(interval=400), logger=dict(interval=50))
