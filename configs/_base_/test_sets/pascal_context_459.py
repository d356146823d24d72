# PASCAL-Context, 459 classes.
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PascalContext459Dataset',
        data_root='data/VOCdevkit/VOC2010',
        data_prefix=dict(
            img_path='JPEGImages',
            seg_map_path='annotations_detectron2/pc459_val',
        ),
        ann_file='ImageSets/SegmentationContext/val.txt',
        test_mode=True,
    ),
)
test_evaluator = dict(type='OpenVocabIoUMetric')
test_cfg = dict(type='TestLoop')
