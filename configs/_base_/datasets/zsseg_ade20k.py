# ZSSeg, trained on COCO-Stuff, tested on ADE20K with 150 classes.
_base_ = './zsseg_short-side-512.py'

val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='OpenVocabDataset',
        vocabulary='ade150-synonyms',
        data_root='data/ade/ADEChallengeData2016',
        data_prefix=dict(
            img_path='images/validation',
            seg_map_path='annotations/validation',
        ),
        reduce_zero_label=True,
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
