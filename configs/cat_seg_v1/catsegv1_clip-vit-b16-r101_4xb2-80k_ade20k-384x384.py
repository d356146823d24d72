# Trained and tested on ADE20K-150; weights trained on COCO-Stuff are tested
# with it as well.
_base_ = [
    '../_base_/models/catsegv1_clip-vit-b16-r101.py',
    '../_base_/datasets/ade20k_384x384.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_warmup-cosine-80k.py',
]
model = dict(
    train_vocabulary='ade150',
    vocabulary='ade150',
    decode_head=dict(pooling=1),
)
default_hooks = dict(checkpoint=dict(interval=4000))
