# COCO-Stuff 164k, 156 seen and 15 unseen classes.
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='COCOStuffZeroShotDataset',
        vocabulary='coco-156-15',
        data_root='data/coco_stuff164k',
        data_prefix=dict(
            img_path='images/val2017', seg_map_path='annotations/val2017'
        ),
        test_mode=True,
    ),
)
test_evaluator = dict(type='OpenVocabIoUMetric')
test_cfg = dict(type='TestLoop')
