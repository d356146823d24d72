# Masked crops of the seen classes, to learn prompts with. Which image shows
# which class is found out once, and kept in the index file.
data_root = 'data/VOCdevkit/VOC2012'
vocabulary = 'voc20-15-5'
# as published, 224 was meant
crop_size = (244, 224)

train_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='CropClass', size=crop_size, scale=(0.08, 1.0)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs', meta_keys=('img_path', 'crop_label')),
]
test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadOpenVocabAnnotations'),
    # the centre of the box, not resized
    dict(type='CropClass', size=(224, 224)),
    dict(type='PackSegInputs', meta_keys=('img_path', 'crop_label')),
]
train_set = dict(
    type='PascalVOC20ZeroShotDataset',
    vocabulary=vocabulary,
    data_root=data_root,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    ann_file='ImageSets/Segmentation/train.txt',
    unseen_labels='ignore',
)
# 10,582 images in all: the challenge's and those that SBD adds.
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='ClassCropDataset',
        samples_per_class=128,
        index_file=f'{data_root}/classes_trainaug.json',
        dataset=dict(
            type='ConcatDataset',
            datasets=[
                train_set,
                dict(
                    train_set,
                    data_prefix=dict(
                        img_path='JPEGImages',
                        seg_map_path='SegmentationClassAug',
                    ),
                    ann_file='ImageSets/Segmentation/aug.txt',
                ),
            ],
        ),
        pipeline=train_pipeline,
    ),
)
# All pairs of an image and a class that it shows.
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ClassCropDataset',
        index_file=f'{data_root}/classes_val.json',
        dataset=dict(
            type='PascalVOC20ZeroShotDataset',
            vocabulary=vocabulary,
            data_root=data_root,
            data_prefix=dict(
                img_path='JPEGImages', seg_map_path='SegmentationClass'
            ),
            ann_file='ImageSets/Segmentation/val.txt',
        ),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='CropAccuracyMetric')
test_evaluator = val_evaluator
