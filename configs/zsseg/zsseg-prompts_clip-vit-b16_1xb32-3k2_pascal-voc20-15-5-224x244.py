# First stage: prompts for PASCAL VOC, from its 15 seen objects.
_base_ = [
    '../_base_/models/zsseg-prompts_clip-vit-b16.py',
    '../_base_/datasets/zsseg-prompts_pascal-voc20-15-5.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/sgd-2e-2_cosine-3k2.py',
]
model = dict(
    train_vocabulary=dict(class_texts='voc20-15-5'),
    vocabulary='voc20-15-5',
)
