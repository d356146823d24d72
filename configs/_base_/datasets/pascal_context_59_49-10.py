# PASCAL-Context 59 as training data, 49 of the 59 classes. The model takes
# train_vocabulary=dict(class_texts='pc59-49-10', subset='seen').
_base_ = './zero-shot_512x512.py'

data_root = 'data/VOCdevkit/VOC2010'
vocabulary = 'pc59-49-10'
train_dataloader = dict(
    dataset=dict(
        type='PascalContext59ZeroShotDataset',
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassContext'
        ),
        ann_file='ImageSets/SegmentationContext/train.txt',
        unseen_labels='ignore',
        pipeline=_base_.train_pipeline,
    )
)
