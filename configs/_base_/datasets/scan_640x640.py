# SCAN's training crops and scales of augmented tests; a config sets
# train_pipeline and tta_pipeline to them.
scan_crop_size = (640, 640)
scan_train_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(
        type='RandomChoiceResize',
        scales=[(2560, short) for short in range(320, 1281, 64)],
        keep_ratio=True,
        backend='pillow',
    ),
    dict(type='RandomCrop', crop_size=scan_crop_size, cat_max_ratio=1.0),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=scan_crop_size, pad_val=dict(img=128, seg=255)),
    dict(type='PackSegInputs'),
]
scan_tta_pipeline = [
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
