# Trained on 156 classes of COCO-Stuff, tested on all of PASCAL-Context.
_base_ = [
    '../_base_/models/cascadeclip_clip-vit-b16.py',
    '../_base_/datasets/coco-stuff164k_156-15.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_poly-80k.py',
]
model = dict(
    vocabulary='pc59-table',
    train_vocabulary=dict(class_texts='coco-156-15', subset='seen'),
    # every class counts as seen
    test_cfg=dict(seen_penalty=0.0),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='OpenVocabDataset',
        vocabulary='pc59-table',
        reduce_zero_label=True,
        data_root='data/VOCdevkit/VOC2010',
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassContext'
        ),
        ann_file='ImageSets/SegmentationContext/val.txt',
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
# The six that are kept begin with the middle of the schedule, which the
# second stage starts from.
default_hooks = dict(checkpoint=dict(interval=8000, max_keep_ckpts=6))
