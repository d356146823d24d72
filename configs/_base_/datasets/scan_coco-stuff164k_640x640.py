# COCO-Stuff 164k as training data of SCAN: crops of 640x640 pixels. Tests are
# those of CAT-Seg, augmented tests have other sizes.
_base_ = './coco-stuff164k.py'

crop_size = (640, 640)
train_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(
        type='RandomChoiceResize',
        scales=[(2560, short) for short in range(320, 1281, 64)],
        keep_ratio=True,
        backend='pillow',
    ),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=1.0),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=crop_size, pad_val=dict(img=128, seg=255)),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(
                    type='Resize',
                    scale=(3584, short),
                    keep_ratio=True,
                    backend='pillow',
                )
                for short in range(256, 897, 128)
            ],
            [
                dict(type='RandomFlip', prob=0.0, direction='horizontal'),
                dict(type='RandomFlip', prob=1.0, direction='horizontal'),
            ],
            [dict(type='LoadOpenVocabAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
