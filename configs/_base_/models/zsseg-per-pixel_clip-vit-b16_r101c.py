# ZSSeg's baseline without proposals: pixels against texts.
_base_ = ['./zsseg_clip-vit-b16_r101c.py']

model = dict(
    _delete_=True,
    type='OpenVocabSegmentor',
    data_preprocessor=_base_.data_preprocessor,
    clip=_base_.model.clip,
    prompts=_base_.model.prompts,
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
