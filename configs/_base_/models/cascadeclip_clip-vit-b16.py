# Cascade-CLIP on CLIP ViT-B/16.
# ImageNet's statistics, not CLIP's; the only place of normalisation.
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size=(512, 512),
    pad_val=0,
    seg_pad_val=255,
)
model = dict(
    type='OpenVocabSegmentor',
    data_preprocessor=data_preprocessor,
    clip=dict(
        arch='ViT-B-16',
        pretrained='openai',
        # File or folder of weights to read instead of the hub.
        custom_clip_weights=None,
        finetune='none',
    ),
    # One embedding a class. A published table of embeddings can be named
    # instead, as embeddings with its file and vocabulary.
    prompts=dict(
        templates='cascade_clip', synonyms='whole', average_templates=True
    ),
    backbone=dict(
        type='CLIPViT',
        out_indices=(5, 6, 7, 8, 9, 10),
        pos_image_size=512,
        pos_interpolation='bilinear',
        double_class_embedding=True,
        prompts=dict(
            depth=12,
            length=50,
            stay=False,
            projection=True,
            dropout=0.1,
            norm=True,
        ),
        finetune='prompt',
    ),
    text_encoder=dict(type='CLIPTextTransformer'),
    neck=dict(
        type='CLIPLevelProjection',
        in_channels=768,
        out_channels=512,
        num_levels=6,
    ),
    decode_head=dict(
        type='CascadeCLIPHead',
        embed_dims=512,
        group_sizes=(3, 3, 1),
        num_layers=3,
        num_heads=8,
        dropout=0.1,
        loss_decode=[
            dict(type='DenseFocalLoss', loss_weight=100.0),
            dict(type='DenseDiceLoss', loss_weight=1.0),
        ],
    ),
    test_cfg=dict(
        mode='slide',
        crop_size=(512, 512),
        stride=(426, 426),
        # Sigmoids are taken at this size, whatever the size of the window.
        score_size=(512, 512),
        seen_penalty=0.1,
        window_batch=4,
    ),
)
