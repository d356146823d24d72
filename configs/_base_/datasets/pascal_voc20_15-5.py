# PASCAL VOC as training data, 15 of the 20 objects. The model takes
# train_vocabulary=dict(class_texts='voc20-15-5', subset='seen').
_base_ = './zero-shot_512x512.py'

data_root = 'data/VOCdevkit/VOC2012'
vocabulary = 'voc20-15-5'
train_set = dict(
    type='PascalVOC20ZeroShotDataset',
    vocabulary=vocabulary,
    data_root=data_root,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    ann_file='ImageSets/Segmentation/train.txt',
    unseen_labels='ignore',
    pipeline=_base_.train_pipeline,
)
# 10,582 images in all: the challenge's and those that SBD adds.
train_dataloader = dict(
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            train_set,
            dict(
                train_set,
                data_prefix=dict(
                    img_path='JPEGImages', seg_map_path='SegmentationClassAug'
                ),
                ann_file='ImageSets/Segmentation/aug.txt',
            ),
        ],
    )
)
