# PASCAL VOC as training data of ZSSeg, 15 of the 20 objects. The model takes
# train_vocabulary=dict(class_texts='voc20-15-5', subset='seen').
data_root = 'data/VOCdevkit/VOC2012'
vocabulary = 'voc20-15-5'
crop_size = (512, 512)

train_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='SkipUnseenImages'),
    dict(
        type='RandomChoiceResize',
        scales=[(2048, short) for short in range(320, 961, 64)],
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
    dict(type='Resize', scale=(2048, 512), keep_ratio=True, backend='pillow'),
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

train_set = dict(
    type='PascalVOC20ZeroShotDataset',
    vocabulary=vocabulary,
    data_root=data_root,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    ann_file='ImageSets/Segmentation/train.txt',
    unseen_labels='ignore',
    pipeline=train_pipeline,
)
# 10,582 images in all: the challenge's and those that SBD adds.
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            train_set,
            dict(
                train_set,
                data_prefix=dict(
                    img_path='JPEGImages', seg_map_path='SegmentationClassAug'
                ),
                ann_file='ImageSets/Segmentation/aug.txt',
            ),
        ],
    ),
)

val_evaluator = dict(type='OpenVocabIoUMetric')
