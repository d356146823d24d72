_base_ = [
    '../_base_/models/cascadeclip_clip-vit-b16.py',
    '../_base_/datasets/pascal_voc20_15-5.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_poly-20k.py',
]
model = dict(
    prompts=dict(templates=['a photo of a {}']),
    vocabulary='voc20-15-5',
    train_vocabulary=dict(class_texts='voc20-15-5', subset='seen'),
    backbone=dict(prompt_length=10),
)
# The six that are kept begin with the middle of the schedule, which the
# second stage starts from.
default_hooks = dict(checkpoint=dict(interval=2000, max_keep_ckpts=6))
