# Trained and tested on ADE20K-150; weights trained on COCO-Stuff are tested
# with it as well.
_base_ = [
    '../_base_/models/catsegv1_clip-vit-b16-r101.py',
    '../_base_/datasets/coco-stuff164k_384x384.py',
    '../_base_/test_sets/ade20k.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_warmup-cosine-80k.py',
]
model = dict(
    train_vocabulary='ade150',
    vocabulary='ade150',
    decode_head=dict(classwise=dict(pooling=1)),
)
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
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
default_hooks = dict(checkpoint=dict(interval=4000))
