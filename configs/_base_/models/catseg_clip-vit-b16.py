# CAT-Seg (CVPR 2024) on CLIP ViT-B/16.
# CLIP's statistics; the only place where images are normalised.
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[122.7709383, 116.7460125, 104.09373615],
    std=[68.5005327, 66.6321579, 70.3231630],
    bgr_to_rgb=True,
    size_divisor=1,
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
        # 'attention' (q and v of both towers), 'full', 'prompt', 'none'
        finetune='attention',
    ),
    # Synonyms after the first are not used; neither did the authors.
    prompts=dict(templates='single', synonyms='published'),
    train_vocabulary='coco',
    vocabulary='coco',
    backbone=dict(
        type='CLIPViT',
        last_block='value_cls',
        # The shallower tap guides the coarser stage of the decoder.
        out_indices=(3, 7),
        input_size=(384, 384),
    ),
    text_encoder=dict(type='CLIPTextTransformer'),
    neck=dict(
        type='CLIPTokenPyramid', in_channels=768, out_channels=(256, 128)
    ),
    decode_head=dict(
        type='CATSegCostHead',
        text_channels=512,
        appearance_channels=512,
        pad_len=256,
        # 2 in training, 1 in the published evaluation
        classwise=dict(pooling=2, test_pooling=1),
        decoder=dict(guidance_channels=(256, 128)),
        loss_decode=dict(type='DenseBCELoss'),
    ),
    train_cfg=dict(),
    # The paper's protocol: the image, squeezed to 640x640, in four windows,
    # averaged with a view of the whole image. To keep the aspect ratio set
    # canvas=None.
    test_cfg=dict(
        mode='slide',
        crop_size=(384, 384),
        stride=(256, 256),
        canvas=(640, 640),
        global_view=True,
        window_batch=8,
    ),
)
# The last image block's q takes no part in the dense path, and the padding of
# the class attention none when the vocabulary fills pad_len.
find_unused_parameters = True
