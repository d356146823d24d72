# The 49/10 split that most papers report.
_base_ = [
    '../_base_/models/cascadeclip_clip-vit-b16.py',
    '../_base_/datasets/pascal_context_59_49-10.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_poly-40k.py',
]
model = dict(
    vocabulary='pc59-49-10',
    train_vocabulary=dict(class_texts='pc59-49-10', subset='seen'),
    backbone=dict(prompt_length=35),
)
# The six that are kept begin with the middle of the schedule, which the
# second stage starts from.
default_hooks = dict(checkpoint=dict(interval=4000, max_keep_ckpts=6))
