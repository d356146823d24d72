# SPDX-License-Identifier: Apache-2.0
"""Tiny CLIP architectures and one tiny config of each method."""

from copy import deepcopy

WORDS = ['cat', 'dog', 'tree', 'blue sky', 'a red car']
NORM = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 65.0, 70.0])


def clip_arch(
    embed_dim: int = 16,
    width: int = 16,
    layers: int = 2,
    heads: int = 2,
    image_size: int = 32,
    patch_size: int = 8,
    text: dict | None = None,
    **options,
) -> dict:
    """Architecture of a CLIP of two small towers.

    Args:
        embed_dim: Channels that both towers end with.
        width: Channels of the image tower.
        layers: Blocks of the image tower.
        heads: Heads of the image tower.
        image_size: Side of the images of the position embedding.
        patch_size: Side of a patch.
        text: ``text_cfg``, instead of one block 16 channels wide.
        **options: Other keys of the architecture, such as ``quick_gelu``.
    """
    vision = dict(
        image_size=image_size,
        layers=layers,
        width=width,
        patch_size=patch_size,
    )
    if width != 64 * heads:  # CLIP's heads have 64 channels
        vision['head_width'] = width // heads
    return dict(
        embed_dim=embed_dim,
        vision_cfg=vision,
        text_cfg=text or dict(width=16, heads=2, layers=1),
        **options,
    )


def cat_seg(**options) -> dict:
    """CAT-Seg; ``decode_head`` is merged, other options replace."""
    cfg = _segmentor(
        clip=dict(arch=clip_arch(), finetune='attention'),
        backbone=dict(
            type='CLIPViT', last_block='value_cls', out_indices=(0, 1)
        ),
        neck=dict(
            type='CLIPTokenPyramid', in_channels=16, out_channels=(8, 8)
        ),
        decode_head=dict(
            type='CATSegCostHead',
            text_channels=16,
            appearance_channels=16,
            embed_dims=16,
            num_layers=1,
            pad_len=8,
            spatial=dict(guidance_dims=8, window_size=3),
            classwise=dict(guidance_dims=8),
            decoder=dict(
                guidance_channels=(8, 8), guidance_dims=(8, 8), dims=(16, 16)
            ),
        ),
    )
    return _merged(cfg, options, ('decode_head',))


def cat_seg_v1() -> dict:
    """CAT-Seg's first version, guided by a ResNet."""
    cfg = cat_seg(
        backbone=dict(
            type='GuidedCLIP',
            clip=dict(type='CLIPViT', last_block='value'),
            guidance=dict(
                type='ResNet',
                depth=18,
                base_channels=8,
                stem_channels=8,
                num_stages=3,
                out_indices=(0, 1, 2),
                strides=(1, 2, 2),
                dilations=(1, 1, 1),
            ),
        ),
        data_preprocessor=dict(type='SegDataPreProcessor', size_divisor=1),
        decode_head=dict(
            appearance_channels=32,
            decoder=dict(
                guidance_channels=(16, 8), guidance_dims=(8, 8), dims=(16, 16)
            ),
        ),
    )
    del cfg['neck']
    return cfg


def cascade_clip() -> dict:
    """Cascade-CLIP with prompts, two levels and the embeddings."""
    return _segmentor(
        clip=dict(arch=clip_arch(), finetune='attention'),
        backbone=dict(
            type='CLIPViT',
            out_indices=(0, 1),
            prompts=dict(depth=2, length=2),
            finetune='prompt',
        ),
        neck=dict(
            type='CLIPLevelProjection',
            in_channels=16,
            out_channels=16,
            num_levels=2,
        ),
        decode_head=dict(
            type='CascadeCLIPHead',
            embed_dims=16,
            group_sizes=(2, 1),
            num_heads=2,
            dropout=0.0,
        ),
    )


def zsseg(**options) -> dict:
    """ZSSeg with two unseen classes; dicts are merged."""
    cfg = _segmentor(
        type='OpenVocabMaskSegmentor',
        clip=dict(arch=clip_arch()),
        vocabulary=dict(class_texts=WORDS, unseen=['tree', 'a red car']),
        train_vocabulary=WORDS,
        prompts=dict(synonyms='whole', average_templates=True),
        backbone=dict(
            type='ResNet',
            depth=50,
            base_channels=8,
            stem_channels=8,
            out_indices=(0, 1, 2, 3),
            strides=(1, 2, 2, 2),
            dilations=(1, 1, 1, 1),
            norm_cfg=dict(type='BN', requires_grad=False),
            norm_eval=True,
        ),
        neck=dict(
            type='FPNPixelDecoder',
            in_channels=(32, 64, 128, 256),
            embed_dims=32,
            mask_channels=16,
        ),
        decode_head=dict(
            type='ZSSegHead',
            text_channels=16,
            proposals=_proposals(
                type='MaskFormerDecoder', in_channels=256, num_layers=2
            ),
            loss_decode=dict(type='MaskSetLoss'),
        ),
        region_encoder=dict(
            type='CLIPRegionEncoder', clip=dict(type='CLIPViT'), region_size=32
        ),
    )
    return _merged(cfg, options, cfg)


def per_pixel() -> dict:
    """The per-pixel baseline of ZSSeg."""
    cfg = zsseg(vocabulary=WORDS)
    for key in ('region_encoder', 'train_vocabulary'):
        del cfg[key]
    cfg.update(
        type='OpenVocabSegmentor',
        decode_head=dict(
            type='PixelTextHead',
            in_channels=16,
            text_channels=16,
            loss_decode=dict(type='CrossEntropyLoss'),
        ),
    )
    return cfg


def scan() -> dict:
    """SCAN with all of its parts."""
    return _segmentor(
        type='OpenVocabMaskSegmentor',
        clip=dict(arch=clip_arch(layers=3), finetune='none'),
        prompts=dict(synonyms='whole', average_templates=True),
        backbone=dict(
            type='FusedSwinTransformer',
            embed_dims=8,
            depths=(1, 1, 1, 1),
            num_heads=(1, 1, 1, 1),
            window_size=2,
        ),
        neck=dict(
            type='DeformPixelDecoder',
            in_channels=(8, 16, 32, 64),
            embed_dims=32,
            mask_channels=16,
            num_heads=4,
            num_points=2,
            num_layers=1,
            feedforward_dims=16,
        ),
        context_encoder=dict(
            type='CLIPContextEncoder',
            clip=dict(type='CLIPViT', out_indices=(0, 2)),
        ),
        decode_head=dict(
            type='SCANHead',
            text_channels=16,
            proposals=_proposals(
                type='MaskedAttentionDecoder',
                num_layers=3,
                skip_penultimate=True,
            ),
            integration=dict(
                in_channels=16,
                embed_dims=16,
                blocks=(2,),
                sigmas=(1,),
                num_heads=4,
                num_fusion_layers=2,
                num_encoder_layers=1,
                feedforward_dims=32,
            ),
            loss_decode=dict(
                type='MaskSetLoss', mask_loss='bce', num_points=30
            ),
        ),
        region_encoder=dict(
            type='CLIPRegionEncoder',
            clip=dict(type='CLIPViT'),
            region_size=32,
            # High enough for patches without foreground.
            mask_threshold=0.95,
            shift=dict(blocks=(0,), ratio=0.5),
        ),
        test_cfg=dict(mode='whole', keep_scores=True),
    )


METHODS = dict(
    cat_seg=cat_seg,
    cat_seg_v1=cat_seg_v1,
    cascade_clip=cascade_clip,
    zsseg=zsseg,
    scan=scan,
    per_pixel=per_pixel,
)


def _segmentor(**parts) -> dict:
    """Config of a segmentor with the parts that all methods share."""
    return dict(
        dict(
            type='OpenVocabSegmentor',
            data_preprocessor=dict(
                type='SegDataPreProcessor',
                **deepcopy(NORM),
                bgr_to_rgb=True,
                size_divisor=1,
            ),
            vocabulary=WORDS,
            text_encoder=dict(type='CLIPTextTransformer'),
            test_cfg=dict(mode='whole'),
        ),
        **parts,
    )


def _proposals(**decoder) -> dict:
    """Config of six proposals, whose decoder has these options."""
    return dict(
        type='MaskProposalHead',
        mask_channels=16,
        embedding_channels=16,
        hidden_channels=16,
        decoder=dict(
            num_queries=6,
            embed_dims=32,
            num_heads=4,
            feedforward_dims=32,
            **decoder,
        ),
    )


def _merged(cfg: dict, options: dict, keys) -> dict:
    """The config with options; dicts under some keys are merged."""
    for key, value in options.items():
        both = isinstance(value, dict) and isinstance(cfg.get(key), dict)
        cfg[key] = {**cfg[key], **value} if both and key in keys else value
    return cfg
