# First stage: prompts for PASCAL VOC, from its 15 seen objects.
_base_ = [
    '../_base_/models/zsseg-prompts_clip-vit-b16.py',
    '../_base_/datasets/zsseg-prompts_224x244.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/sgd-2e-2_cosine.py',
]
model = dict(
    train_vocabulary=dict(class_texts='voc20-15-5'),
    vocabulary='voc20-15-5',
)
data_root = 'data/VOCdevkit/VOC2012'
vocabulary = 'voc20-15-5'
train_set = dict(
    type='PascalVOC20ZeroShotDataset',
    vocabulary=vocabulary,
    data_root=data_root,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    ann_file='ImageSets/Segmentation/train.txt',
    unseen_labels='ignore',
)
# The classes in each image are found once and kept in the index file. The
# 10,582 images are those of the challenge and those that SBD adds.
train_dataloader = dict(
    dataset=dict(
        samples_per_class=128,
        index_file=f'{data_root}/classes_trainaug.json',
        dataset=dict(
            type='ConcatDataset',
            datasets=[
                train_set,
                dict(
                    train_set,
                    data_prefix=dict(
                        img_path='JPEGImages',
                        seg_map_path='SegmentationClassAug',
                    ),
                    ann_file='ImageSets/Segmentation/aug.txt',
                ),
            ],
        ),
    )
)
val_dataloader = _base_.val_dataloader
val_dataloader.dataset.update(
    index_file=f'{data_root}/classes_val.json',
    dataset=dict(
        type='PascalVOC20ZeroShotDataset',
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClass'
        ),
        ann_file='ImageSets/Segmentation/val.txt',
    ),
)
test_dataloader = val_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(T_max=3200, end=3200)
train_cfg = dict(max_iters=3200)
