# ZSSeg, trained on COCO-Stuff, tested on PASCAL-Context 459.
_base_ = './zsseg_short-side-512.py'

val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='PascalContext459Dataset',
        data_root='data/VOCdevkit/VOC2010',
        data_prefix=dict(
            img_path='JPEGImages',
            seg_map_path='annotations_detectron2/pc459_val',
        ),
        ann_file='ImageSets/SegmentationContext/val.txt',
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
