# ZSSeg (ECCV 2022): MaskFormer on R-101c, regions through CLIP ViT-B/16.
# Statistics of the backbone; regions are normalised again with CLIP's.
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size_divisor=32,
    pad_val=0,
    seg_pad_val=255,
)
model = dict(
    type='OpenVocabMaskSegmentor',
    data_preprocessor=data_preprocessor,
    clip=dict(
        arch='ViT-B-16',
        pretrained='openai',
        # File or folder of weights to read instead of the hub.
        custom_clip_weights=None,
        finetune='none',
    ),
    prompts=dict(templates='vild', synonyms='whole', average_templates=True),
    train_vocabulary=dict(class_texts='coco-156-15', subset='seen'),
    vocabulary='coco-156-15',
    # The ResNet with three convolutions in its stem, 64, 64 and 128 wide.
    backbone=dict(
        type='ResNetV1c',
        depth=101,
        stem_channels=128,
        out_indices=(0, 1, 2, 3),
        strides=(1, 2, 2, 2),
        dilations=(1, 1, 1, 1),
        multi_grid=(1, 2, 4),
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch',
        # detectron2's DeepLab/R-103.pkl, converted; see the README.
        init_cfg=dict(type='Pretrained', checkpoint='data/r103_deeplab.pth'),
    ),
    neck=dict(
        type='FPNPixelDecoder',
        in_channels=(256, 512, 1024, 2048),
        embed_dims=256,
        mask_channels=256,
    ),
    text_encoder=dict(type='CLIPTextTransformer'),
    decode_head=dict(
        type='ZSSegHead',
        text_channels=512,
        proposals=dict(
            type='MaskProposalHead',
            mask_channels=256,
            embedding_channels=512,
            decoder=dict(
                type='MaskFormerDecoder',
                in_channels=2048,
                num_queries=100,
                embed_dims=256,
                num_heads=8,
                num_layers=6,
                feedforward_dims=2048,
                dropout=0.1,
            ),
        ),
        # Proposals weigh so much on seen classes, regions on unseen ones; on
        # all classes where the vocabulary has no unseen ones.
        ensemble_weight=0.8,
        loss_decode=dict(
            type='MaskSetLoss',
            class_weight=1.0,
            mask_weight=20.0,
            dice_weight=1.0,
            no_object_weight=0.1,
        ),
    ),
    region_encoder=dict(
        type='CLIPRegionEncoder',
        clip=dict(type='CLIPViT'),
        mask_threshold=0.5,
        batch_size=32,
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
