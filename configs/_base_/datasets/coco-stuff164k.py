# COCO-Stuff 164k as training data of CAT-Seg, with CAT-Seg's pipelines.
# Images are resized by Pillow (bilinear with antialiasing), as in the method.
dataset_type = 'OpenVocabDataset'
data_root = 'data/coco_stuff164k'
vocabulary = 'coco'
crop_size = (384, 384)

train_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadOpenVocabAnnotations'),
    # short side 384, long side at most 1333
    dict(type='Resize', scale=(1333, 384), keep_ratio=True, backend='pillow'),
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
                    scale=scale,
                    keep_ratio=True,
                    backend='pillow',
                )
                for scale in [(1920, 480), (2560, 640), (3200, 800)]
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
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=dict(
            img_path='images/train2017', seg_map_path='annotations/train2017'
        ),
        seg_map_suffix='_labelTrainIds.png',
        pipeline=train_pipeline,
    ),
)

val_evaluator = dict(type='OpenVocabIoUMetric')
