# COCO-Stuff 164k as training data of ZSSeg, 156 of the 171 classes. The model
# takes train_vocabulary=dict(class_texts='coco-156-15', subset='seen').
data_root = 'data/coco_stuff164k'
vocabulary = 'coco-156-15'
crop_size = (640, 640)

train_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='SkipUnseenImages'),
    dict(
        type='RandomChoiceResize',
        scales=[(2560, short) for short in range(320, 961, 64)],
        keep_ratio=True,
        backend='pillow',
    ),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=1.0),
    dict(type='PhotoMetricDistortion'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size=crop_size, pad_val=dict(img=128, seg=255)),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(2560, 640), keep_ratio=True, backend='pillow'),
    # after Resize: labels are compared at the size of the original image
    dict(type='LoadOpenVocabAnnotations'),
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
                    scale=(4480, short),
                    keep_ratio=True,
                    backend='pillow',
                )
                # 0.5 to 1.75 times the size of the test
                for short in range(320, 1121, 160)
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

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='COCOStuffZeroShotDataset',
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=dict(
            img_path='images/train2017', seg_map_path='annotations/train2017'
        ),
        unseen_labels='ignore',
        pipeline=train_pipeline,
    ),
)

val_evaluator = dict(type='OpenVocabIoUMetric')
