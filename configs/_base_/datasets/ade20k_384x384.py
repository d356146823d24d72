# ADE20K with 150 classes, trained and tested on.
_base_ = './coco-stuff164k_384x384.py'

data_root = 'data/ade/ADEChallengeData2016'
vocabulary = 'ade150'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(
        type='RandomResize',
        scale=(2048, 512),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    ),
    *_base_.train_pipeline[2:],
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=_base_.dataset_type,
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=dict(
            img_path='images/training', seg_map_path='annotations/training'
        ),
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
        data_prefix=dict(
            img_path='images/validation', seg_map_path='annotations/validation'
        ),
        reduce_zero_label=True,
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
