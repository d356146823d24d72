# Sharded over the GPUs, for a model that does not fit in the memory of one.
_base_ = [
    '../_base_/models/catsegv1_clip-vit-l14-336-swin-b.py',
    '../_base_/datasets/coco-stuff164k_384x384.py',
    '../_base_/test_sets/coco-stuff164k.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_warmup-cosine-80k.py',
    '../_base_/strategies/fsdp.py',
]
model = dict(
    clip=dict(arch='ViT-H-14', pretrained='laion2b_s32b_b79k'),
    # The position embedding of CLIP's weights (224 pixels) is resized once,
    # when they are loaded.
    backbone=dict(clip=dict(pos_image_size=336)),
    decode_head=dict(text_channels=1024),
)
train_dataloader = dict(batch_size=1, num_workers=2)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
default_hooks = dict(checkpoint=dict(interval=4000))
