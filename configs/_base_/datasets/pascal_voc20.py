# Trained on COCO-Stuff 164k, tested on the 20 objects of PASCAL VOC.
_base_ = './coco-stuff164k.py'

val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='PascalVOC20Dataset',
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
