# First stage: prompts for COCO-Stuff, from its 156 seen classes.
_base_ = [
    '../_base_/models/zsseg-prompts_clip-vit-b16.py',
    '../_base_/datasets/zsseg-prompts_coco-stuff164k-156-15.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/sgd-2e-2_cosine-16k.py',
]
