# The toy world; tools/dataset_converters/toy_world.py makes it.
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='OpenVocabDataset',
        vocabulary='toy_world',
        data_root='data/toy_world',
        data_prefix=dict(
            img_path='images/val', seg_map_path='annotations/val'
        ),
        img_suffix='.png',
        test_mode=True,
    ),
)
test_evaluator = dict(type='OpenVocabIoUMetric')
test_cfg = dict(type='TestLoop')
