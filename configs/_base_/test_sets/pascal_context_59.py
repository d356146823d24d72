# PASCAL-Context, 59 classes.
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='OpenVocabDataset',
        vocabulary='pc59',
        data_root='data/VOCdevkit/VOC2010',
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassContext'
        ),
        ann_file='ImageSets/SegmentationContext/val.txt',
        reduce_zero_label=True,
        test_mode=True,
    ),
)
test_evaluator = dict(type='OpenVocabIoUMetric')
test_cfg = dict(type='TestLoop')
