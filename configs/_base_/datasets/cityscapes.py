# Trained on COCO-Stuff 164k, tested on Cityscapes.
_base_ = './coco-stuff164k.py'

val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='OpenVocabDataset',
        vocabulary='cityscapes',
        data_root='data/cityscapes',
        data_prefix=dict(
            img_path='leftImg8bit/val', seg_map_path='gtFine/val'
        ),
        img_suffix='_leftImg8bit.png',
        seg_map_suffix='_gtFine_labelTrainIds.png',
        pipeline=_base_.test_pipeline,
        test_mode=True,
    )
)
test_dataloader = val_dataloader
