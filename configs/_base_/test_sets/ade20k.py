# ADE20K, 150 classes.
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='OpenVocabDataset',
        vocabulary='ade150',
        data_root='data/ade/ADEChallengeData2016',
        data_prefix=dict(
            img_path='images/validation',
            seg_map_path='annotations/validation',
        ),
        reduce_zero_label=True,
        test_mode=True,
    ),
)
test_evaluator = dict(type='OpenVocabIoUMetric')
test_cfg = dict(type='TestLoop')
