# COCO-Stuff, 156 seen and 15 unseen classes, the baseline without proposals,
# one fixed template.
_base_ = [
    '../_base_/models/zsseg_clip-vit-b16_r101c.py',
    '../_base_/datasets/zsseg_coco-stuff164k-156-15.py',
    '../_base_/test_sets/coco-stuff164k_156-15.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/adamw-1e-4_poly.py',
]
# Pixels are compared with texts: without proposals and regions.
model = dict(
    _delete_=True,
    type='OpenVocabSegmentor',
    data_preprocessor=_base_.data_preprocessor,
    clip=_base_.model.clip,
    prompts=dict(_base_.model.prompts, templates=['a sculpture of a {}.']),
    train_vocabulary=_base_.model.train_vocabulary,
    vocabulary=_base_.model.vocabulary,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    text_encoder=_base_.model.text_encoder,
    decode_head=dict(
        type='PixelTextHead',
        in_channels=256,
        text_channels=512,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
test_dataloader = _base_.test_dataloader
test_dataloader.dataset.pipeline = _base_.test_pipeline
val_dataloader = test_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 60000
train_cfg = dict(max_iters=60000)
