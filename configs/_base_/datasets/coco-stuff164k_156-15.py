# COCO-Stuff 164k as training data, 156 of the 171 classes. The model takes
# train_vocabulary=dict(class_texts='coco-156-15', subset='seen').
_base_ = './zero-shot_512x512.py'

data_root = 'data/coco_stuff164k'
vocabulary = 'coco-156-15'
train_dataloader = dict(
    dataset=dict(
        type='COCOStuffZeroShotDataset',
        vocabulary=vocabulary,
        data_root=data_root,
        data_prefix=dict(
            img_path='images/train2017', seg_map_path='annotations/train2017'
        ),
        unseen_labels='ignore',
        pipeline=_base_.train_pipeline,
    )
)
