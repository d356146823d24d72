# First stage of ZSSeg with learned prompts: CLIP classifies masked crops.
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[122.7709383, 116.7460125, 104.09373615],
    std=[68.5005327, 66.6321579, 70.3231630],
    bgr_to_rgb=True,
    size_divisor=1,
    pad_val=0,
    seg_pad_val=0,
)
model = dict(
    type='ClassCropClassifier',
    data_preprocessor=data_preprocessor,
    clip=dict(
        arch='ViT-B-16',
        pretrained='openai',
        # File or folder of weights to read instead of the hub.
        custom_clip_weights=None,
    ),
    # The text tower makes the prompts itself, from bare names.
    prompts=dict(templates=['{}'], synonyms='whole', average_templates=True),
    train_vocabulary=dict(class_texts='coco-156-15', subset='seen'),
    vocabulary='coco-156-15',
    image_encoder=dict(type='CLIPViT', finetune='none'),
    text_encoder=dict(
        type='CLIPPromptedTextTransformer',
        finetune='prompt',
        prefix_length=16,
        suffix_length=0,
    ),
)
