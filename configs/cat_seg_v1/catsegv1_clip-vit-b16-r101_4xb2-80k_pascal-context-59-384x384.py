# Trained and tested on PASCAL-Context 59.
_base_ = [
    '../_base_/models/catsegv1_clip-vit-b16-r101.py',
    '../_base_/datasets/pascal_context_59_384x384.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_warmup-cosine-80k.py',
]
model = dict(
    train_vocabulary='pc59',
    vocabulary='pc59',
    decode_head=dict(pooling=1),
)
default_hooks = dict(checkpoint=dict(interval=4000))
