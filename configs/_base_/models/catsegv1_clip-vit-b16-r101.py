# CAT-Seg, first version, on CLIP ViT-B/16 with guidance of a ResNet-101.
# The backbones normalise the images, each with its own statistics; padding is
# black to both.
data_preprocessor = dict(
    type='SegDataPreProcessor',
    size=(384, 384),
    bgr_to_rgb=True,
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
    ),
    prompts=dict(templates='imagenet', synonyms='mean'),
    train_vocabulary='coco',
    vocabulary='coco',
    backbone=dict(
        type='GuidedCLIP',
        clip=dict(
            type='CLIPViT',
            last_block='value',
            input_size=(384, 384),
            # attention and position embedding; or 'all', 'prompt', 'none'
            finetune=['attn', 'position'],
            # No prompts by default; prompts.depth and prompts.length add them.
            prompts=dict(init='xavier'),
        ),
        # Any backbone with maps at strides 4, 8 and 16.
        guidance=dict(
            type='ResNet',
            depth=101,
            num_stages=3,
            out_indices=(0, 1, 2),
            dilations=(1, 1, 1),
            strides=(1, 2, 2),
            norm_cfg=dict(type='SyncBN', requires_grad=True),
            norm_eval=False,
            style='pytorch',
            contract_dilation=True,
            init_cfg=dict(
                type='Pretrained', checkpoint='torchvision://resnet101'
            ),
        ),
        frozen=('norm0',),
    ),
    text_encoder=dict(type='CLIPTextTransformer', finetune='none'),
    decode_head=dict(
        type='CATSegCostHead',
        text_channels=512,
        appearance_channels=1024,
        prompt_channels=80,
        pad_len=None,
        # MMSegmentation's form of windows that the token grid does not fill.
        # 24x24 tokens fill windows of 12, so that both forms are equal.
        spatial=dict(mask_padding=False),
        classwise=dict(
            # In training; the authors have 2. Weights fit any.
            pooling=6,
            # None: as in training, which is MMSegmentation's form. The
            # authors' form, and that of published results, is 1.
            test_pooling=None,
            # MMSegmentation's form, for weights trained there or here. The
            # authors' form, for weights converted from theirs, is False.
            ffn_identity=True,
        ),
        decoder=dict(guidance_channels=(512, 256), dropout_ratio=0.1),
        # MMSegmentation's form: softmax loss, logits averaged over windows.
        # The authors' form: score='sigmoid', dict(type='DenseBCELoss') and
        # no threshold.
        score='logits',
        loss_decode=dict(
            type='CrossEntropyLoss',
            use_sigmoid=False,
            loss_weight=1.0,
            avg_non_ignore=True,
        ),
        # for a vocabulary of one text: the logit of a probability of 0.3
        threshold=-0.8472978603872036,
        with_accuracy=True,
        init_cfg=dict(type='Normal', std=0.01, override=dict(name='head')),
    ),
    train_cfg=dict(),
    # MMSegmentation's form. The authors squeeze the image to 640x640, take
    # windows at stride=(256, 256), canvas=(640, 640), and average with a view
    # of the whole image, global_view=True.
    test_cfg=dict(
        mode='slide',
        crop_size=(384, 384),
        stride=(384, 384),
        # In mode='whole', too, logits are brought to the size of the image
        # that the model sees before they are brought to the original one.
        score_size='input',
        window_batch=8,
    ),
)
# q and k of the last image block take no part in the dense path.
find_unused_parameters = True
