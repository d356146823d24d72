# ZSSeg, trained on COCO-Stuff, tested on PASCAL VOC with background.
_base_ = './zsseg_short-side-512.py'

val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='PascalVOC20bDataset',
        data_root='data/VOCdevkit/VOC2012',
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClass'
        ),
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
