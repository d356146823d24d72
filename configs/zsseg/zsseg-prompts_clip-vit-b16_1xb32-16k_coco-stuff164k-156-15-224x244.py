# First stage: prompts for COCO-Stuff, from its 156 seen classes.
_base_ = [
    '../_base_/models/zsseg-prompts_clip-vit-b16.py',
    '../_base_/datasets/zsseg-prompts_224x244.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/sgd-2e-2_cosine.py',
]
data_root = 'data/coco_stuff164k'
vocabulary = 'coco-156-15'
# The classes in each image are found once and kept in the index file.
train_dataloader = dict(
    dataset=dict(
        samples_per_class=32,
        index_file=f'{data_root}/classes_train2017.json',
        dataset=dict(
            type='COCOStuffZeroShotDataset',
            vocabulary=vocabulary,
            data_root=data_root,
            data_prefix=dict(
                img_path='images/train2017',
                seg_map_path='annotations/train2017',
            ),
            unseen_labels='ignore',
        ),
    )
)
val_dataloader = _base_.val_dataloader
val_dataloader.dataset.update(
    index_file=f'{data_root}/classes_val2017.json',
    dataset=dict(
        type='COCOStuffZeroShotDataset',
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=dict(
            img_path='images/val2017', seg_map_path='annotations/val2017'
        ),
    ),
)
test_dataloader = val_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(T_max=16000, end=16000)
train_cfg = dict(max_iters=16000)
