# PASCAL-Context with 59 classes, trained and tested on.
_base_ = './coco-stuff164k_384x384.py'

data_root = 'data/VOCdevkit/VOC2010'
vocabulary = 'pc59'
img_scale = (520, 520)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(
        type='RandomResize',
        scale=img_scale,
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    *_base_.train_pipeline[2:],
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=img_scale, keep_ratio=True),
    # after Resize: labels are compared at the size of the original image
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='PackSegInputs'),
]
data_prefix = dict(
    img_path='JPEGImages', seg_map_path='SegmentationClassContext'
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=_base_.dataset_type,
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=data_prefix,
        ann_file='ImageSets/SegmentationContext/train.txt',
        reduce_zero_label=True,
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=_base_.dataset_type,
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=data_prefix,
        ann_file='ImageSets/SegmentationContext/val.txt',
        reduce_zero_label=True,
        pipeline=test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
