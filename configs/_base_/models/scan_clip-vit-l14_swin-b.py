# SCAN (CVPR 2024): Mask2Former on Swin-B, helped by CLIP ViT-L/14.
# Statistics of the backbone; towers of CLIP normalise with their own.
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
        arch='ViT-L-14',
        pretrained='datacomp_xl_s13b_b90k',
        # File or folder of weights to read instead of the hub.
        custom_clip_weights=None,
        finetune='none',
    ),
    prompts=dict(templates='vild', synonyms='whole', average_templates=True),
    train_vocabulary='coco',
    vocabulary='coco',
    backbone=dict(
        type='FusedSwinTransformer',
        pretrain_img_size=384,
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        window_size=12,
        drop_path_rate=0.3,
        # ImageNet-22k at 384 pixels, by MMSegmentation's names. A file of
        # Swin's authors becomes one with `python -m ovseg_mm convert`.
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://download.openmmlab.com/mmsegmentation/v0.5/'
            'pretrain/swin/swin_base_patch4_window12_384_22k_20220317-'
            'e5c09f74.pth',
        ),
    ),
    neck=dict(
        type='DeformPixelDecoder',
        in_channels=(128, 256, 512, 1024),
        embed_dims=256,
        mask_channels=256,
        num_heads=8,
        num_points=4,
        num_layers=6,
        feedforward_dims=1024,
    ),
    text_encoder=dict(type='CLIPTextTransformer'),
    # Blocks are counted from 0.
    context_encoder=dict(
        type='CLIPContextEncoder',
        clip=dict(type='CLIPViT', out_indices=(0, 2, 4, 6, 8, 11, 17, 23)),
    ),
    decode_head=dict(
        type='SCANHead',
        text_channels=768,
        proposals=dict(
            type='MaskProposalHead',
            mask_channels=256,
            embedding_channels=768,
            hidden_channels=1024,
            decoder=dict(
                type='MaskedAttentionDecoder',
                num_queries=100,
                embed_dims=256,
                num_heads=8,
                # The state before the last layer has no loss in the
                # published training.
                num_layers=10,
                skip_penultimate=True,
                feedforward_dims=2048,
            ),
        ),
        integration=dict(
            in_channels=1024,
            embed_dims=768,
            blocks=(11, 17, 23),
            sigmas=(9, 7, 3),
        ),
        # Weight of regions against proposals.
        ensemble_weight=0.7,
        loss_decode=dict(
            type='MaskSetLoss',
            class_weight=2.0,
            mask_weight=5.0,
            dice_weight=5.0,
            no_object_weight=0.1,
            mask_loss='bce',
            num_points=12544,
        ),
    ),
    # Its tower is fine-tuned by itself, see configs/scan/README.md.
    region_encoder=dict(
        type='CLIPRegionEncoder',
        clip=dict(type='CLIPViT'),
        mask_threshold=0.4,
        shift=dict(blocks=(0, 2, 4, 6, 8), ratio=0.15, seed=0),
        batch_size=32,
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
