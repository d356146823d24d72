# Masked crops of the seen classes, to learn prompts with. Which image shows
# which class is found out once, and kept in the index file.
data_root = 'data/coco_stuff164k'
vocabulary = 'coco-156-15'
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
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='ClassCropDataset',
        samples_per_class=32,
        index_file=f'{data_root}/classes_train2017.json',
        dataset=dict(
            type='COCOStuffZeroShotDataset',
            vocabulary=vocabulary,
            data_root=data_root,
            data_prefix=dict(
                img_path='images/train2017',
                seg_map_path='annotations/train2017',
            ),
            unseen_labels='ignore',
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
        index_file=f'{data_root}/classes_val2017.json',
        dataset=dict(
            type='COCOStuffZeroShotDataset',
            vocabulary=vocabulary,
            data_root=data_root,
            data_prefix=dict(
                img_path='images/val2017',
                seg_map_path='annotations/val2017',
            ),
        ),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='CropAccuracyMetric')
test_evaluator = val_evaluator
