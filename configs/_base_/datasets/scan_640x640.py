# SCAN's training crops; a config sets train_pipeline to it.
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
