# ZSSeg, trained on COCO-Stuff, tested on ADE20K with 847 classes.
_base_ = './zsseg_coco-stuff164k-156-15.py'

test_pipeline = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True, backend='pillow'),
    # after Resize: labels are compared at the size of the original image
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='PackSegInputs'),
]
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ADE20K847Dataset',
        data_root='data/ade/ADE20K_2021_17_01',
        data_prefix=dict(
            img_path='images_detectron2/validation',
            seg_map_path='annotations_detectron2/validation',
        ),
        pipeline=test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
