# Pipelines and data loaders of ZSSeg's first stage, which learns prompts from
# crops of single classes. Configs add the data sets (dataset, index_file).

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
    dataset=dict(type='ClassCropDataset', pipeline=train_pipeline),
)
# All pairs of an image and a class in it.
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ClassCropDataset', pipeline=test_pipeline, test_mode=True
    ),
)

val_evaluator = dict(type='CropAccuracyMetric')
test_evaluator = val_evaluator
test_cfg = dict(type='TestLoop')
