# PASCAL VOC 2012, 20 objects and background.
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PascalVOC21Dataset',
        data_root='data/VOCdevkit/VOC2012',
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClass'
        ),
        ann_file='ImageSets/Segmentation/val.txt',
        test_mode=True,
    ),
)
test_evaluator = dict(type='OpenVocabIoUMetric')
test_cfg = dict(type='TestLoop')
