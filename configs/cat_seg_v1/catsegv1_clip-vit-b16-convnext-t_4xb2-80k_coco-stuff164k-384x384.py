# Guidance of a ConvNeXt, which needs MMPretrain.
_base_ = [
    '../_base_/models/catsegv1_clip-vit-b16-r101.py',
    '../_base_/datasets/coco-stuff164k_384x384.py',
    '../_base_/test_sets/coco-stuff164k.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-2e-4_warmup-cosine-80k.py',
]
weights = (
    'https://download.openmmlab.com/mmclassification/v0/convnext/'
    'convnext-tiny_32xb128_in1k_20221207-998cf3e9.pth'
)
model = dict(
    backbone=dict(
        guidance=dict(
            _delete_=True,
            type='mmpretrain.ConvNeXt',
            # The tiny one without its last stage.
            arch=dict(depths=[3, 3, 9], channels=[96, 192, 384]),
            out_indices=(0, 1, 2),
            drop_path_rate=0.2,
            gap_before_final_norm=False,
            init_cfg=dict(
                type='Pretrained', checkpoint=weights, prefix='backbone.'
            ),
        )
    ),
    decode_head=dict(
        appearance_channels=384, decoder=dict(guidance_channels=(192, 96))
    ),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
default_hooks = dict(checkpoint=dict(interval=4000))
