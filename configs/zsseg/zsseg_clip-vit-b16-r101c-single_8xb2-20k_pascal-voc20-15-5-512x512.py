# PASCAL VOC, 15 seen and 5 unseen objects, one fixed template.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_pascal-voc20-15-5.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly-20k.py',
]
model = dict(
    train_vocabulary=dict(class_texts='voc20-15-5'),
    vocabulary='voc20-15-5',
    prompts=dict(templates=['a sculpture of a {}.']),
    decode_head=dict(ensemble_weight=0.7),
)
