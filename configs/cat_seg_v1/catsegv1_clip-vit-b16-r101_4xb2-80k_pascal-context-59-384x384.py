# Trained and tested on PASCAL-Context 59.
_base_ = [
    '../_base_/models/catsegv1_clip-vit-b16-r101.py',
    '../_base_/datasets/coco-stuff164k_384x384.py',
    '../_base_/test_sets/pascal_context_59.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_warmup-cosine-80k.py',
]
model = dict(
    train_vocabulary='pc59',
    vocabulary='pc59',
    decode_head=dict(classwise=dict(pooling=1)),
)
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
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type=_base_.dataset_type,
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassContext'
        ),
        ann_file='ImageSets/SegmentationContext/train.txt',
        reduce_zero_label=True,
        pipeline=train_pipeline,
    )
)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = img_scale
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = test_pipeline
val_dataloader = test_dataloader
default_hooks = dict(checkpoint=dict(interval=4000))
