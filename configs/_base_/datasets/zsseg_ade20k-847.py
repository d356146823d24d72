# ZSSeg, trained on COCO-Stuff, tested on ADE20K with 847 classes.
_base_ = './zsseg_short-side-512.py'

val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ADE20K847Dataset',
        data_root='data/ade/ADE20K_2021_17_01',
        data_prefix=dict(
            img_path='images_detectron2/validation',
            seg_map_path='annotations_detectron2/validation',
        ),
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
