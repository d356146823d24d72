# A CAT-Seg small enough to train in seconds, on random weights.
_base_ = ['../../configs/_base_/default_runtime.py']

data_root = 'data/tiny'
vocabulary = ['red square', 'green disc', 'blue|navy', 'grass']
arch = dict(
    embed_dim=32,
    vision_cfg=dict(
        image_size=64, layers=3, width=32, head_width=16, patch_size=8
    ),
    text_cfg=dict(width=32, heads=2, layers=2),
)
model = dict(
    type='OpenVocabSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[122.77, 116.75, 104.09],
        std=[68.5, 66.63, 70.32],
        bgr_to_rgb=True,
        size_divisor=1,
    ),
    clip=dict(arch=arch, finetune='attention'),
    vocabulary=vocabulary,
    backbone=dict(type='CLIPViT', last_block='value_cls', out_indices=(0, 1)),
    text_encoder=dict(type='CLIPTextTransformer'),
    neck=dict(type='CLIPTokenPyramid', in_channels=32, out_channels=(16, 16)),
    decode_head=dict(
        type='CATSegCostHead',
        text_channels=32,
        appearance_channels=32,
        embed_dims=32,
        num_layers=1,
        pad_len=8,
        spatial=dict(guidance_dims=16, window_size=4),
        classwise=dict(guidance_dims=16),
        decoder=dict(
            guidance_channels=(16, 16), guidance_dims=(8, 8), dims=(16, 16)
        ),
    ),
    test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(40, 40)),
)
find_unused_parameters = True
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='OpenVocabDataset',
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=dict(
            img_path='images/train', seg_map_path='annotations/train'
        ),
        pipeline=[
            *pipeline[:2],
            dict(type='RandomCrop', crop_size=(64, 64)),
            pipeline[2],
        ],
    ),
)
test_pipeline = pipeline
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='LoadOpenVocabAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='OpenVocabDataset',
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=dict(
            img_path='images/val', seg_map_path='annotations/val'
        ),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='OpenVocabIoUMetric')
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='OpenVocabOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-4),
    paramwise_cfg=dict(lr_mult=dict(backbone=0.1, text_encoder=0.1)),
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=8, val_interval=8)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=2))
