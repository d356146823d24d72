# Masked crops of COCO-Stuff for training and of ADE20K for tests, both made by
# tools/dataset_converters/crop_captions.py. To train on the authors' crops,
# set ann_file and data_root to their table, and image_folder.
crop_size = (224, 224)
train_pipeline = [
    dict(type='LoadCropCaption'),
    dict(type='PackCropCaption', size=crop_size[0], scale=(0.9, 1.0)),
]
test_pipeline = [
    dict(type='LoadCropCaption'),
    dict(type='PackCropCaption', size=crop_size[0]),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CropCaptionDataset',
        data_root='data/coco_stuff164k',
        ann_file='masked_crops/coco.tsv',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CropCaptionDataset',
        data_root='data/ade/ADEChallengeData2016',
        ann_file='masked_crops/ade150.tsv',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='CropAccuracyMetric')
test_evaluator = val_evaluator
test_cfg = dict(type='TestLoop')
