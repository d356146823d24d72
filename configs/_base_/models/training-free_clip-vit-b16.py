# Methods without training on CLIP ViT-B/16: the protocol of SCLIP, which
# NACLIP, SC-CLIP and SFP took over. Methods differ in last_block.
# CLIP's statistics, rounded as there; the only place where images are
# normalised.
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[122.771, 116.746, 104.094],
    std=[68.501, 66.632, 70.323],
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
    ),
    # Every synonym is a text of its own; the best one speaks for its class.
    prompts=dict(
        templates='imagenet', average_templates=True, synonyms='each'
    ),
    backbone=dict(type='CLIPViT', pos_interpolation='dino'),
    text_encoder=dict(type='CLIPTextTransformer'),
    decode_head=dict(type='CosineHead'),
    test_cfg=dict(
        mode='slide',
        crop_size=(224, 224),
        stride=(112, 112),
        fit_windows=True,
        window_batch=8,
        logit_scale=40.0,
    ),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    # short side 336, long side at most 2048
    dict(type='Resize', scale=(2048, 336), keep_ratio=True),
    # after Resize: labels are compared at the size of the original image
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='PackSegInputs'),
]
