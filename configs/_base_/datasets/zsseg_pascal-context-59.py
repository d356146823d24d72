# ZSSeg, trained on COCO-Stuff, tested on PASCAL-Context 59.
_base_ = './zsseg_short-side-512.py'

val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='OpenVocabDataset',
        vocabulary='pc59',
        data_root='data/VOCdevkit/VOC2010',
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassContext'
        ),
        ann_file='ImageSets/SegmentationContext/val.txt',
        reduce_zero_label=True,
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
