# PASCAL-Context, 49 seen and 10 unseen classes.
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PascalContext59ZeroShotDataset',
        vocabulary='pc59-49-10',
        data_root='data/VOCdevkit/VOC2010',
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassContext'
        ),
        ann_file='ImageSets/SegmentationContext/val.txt',
        test_mode=True,
    ),
)
test_evaluator = dict(type='OpenVocabIoUMetric')
test_cfg = dict(type='TestLoop')
