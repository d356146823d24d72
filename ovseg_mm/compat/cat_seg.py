# SPDX-License-Identifier: Apache-2.0
"""Support of configs and checkpoints of MMSegmentation's project CAT-Seg.

The project is the folder ``projects/CAT-Seg`` of MMSegmentation. Its configs
need ``custom_imports = dict(imports=['ovseg_mm.compat.cat_seg'])``. With this
line, an ``EncoderDecoder`` with the backbone ``CLIPOVCATSeg`` is built as an
:class:`OpenVocabSegmentor`. Checkpoints and learning-rate factors may use the
parameter names of the project.
"""

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmseg.models import EncoderDecoder
from mmseg.registry import MODELS

import ovseg_mm
from ovseg_mm.checkpoints import LAYOUTS, fit_to_model
from ovseg_mm.models import OpenVocabSegmentor
from ovseg_mm.utils.clip_statistics import CLIP_MEAN, CLIP_STD
from ovseg_mm.utils.config_types import type_name
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import expanded
from ovseg_mm.vocabulary import get_templates, shipped_vocabularies

from .cat_seg_optim import ProjectOptimWrapperConstructor

ovseg_mm.register()

__all__ = [
    'ProjectOptimWrapperConstructor',
    'ProjectSegmentor',
    'build_encoder_decoder',
    'translate',
]

_BACKBONE, _NECK, _HEAD = 'CLIPOVCATSeg', 'CATSegAggregator', 'CATSegHead'

# For each clip_pretrained: arch and tag of open_clip, image size of CLIP, and
# whether the position embedding is resized to this size at loading.
_CLIPS = {
    'ViT-B/16': ('ViT-B-16', 'openai', 384, False),
    'ViT-L/14': ('ViT-L-14', 'openai', 336, False),
    'ViT-L/14@336px': ('ViT-L-14-336', 'openai', 336, False),
    'ViT-H': ('ViT-H-14', 'laion2b_s32b_b79k', 336, True),
    'ViT-G': ('ViT-bigG-14', 'laion2b_s39b_b160k', 336, True),
}
# Trained parameters for each clip_finetune; other values mean none.
_FINETUNE: dict[str, str | list[str]] = {
    'attention': ['attn', 'position'],
    'full': 'all',
    'prompt': 'prompt',
}
# Options with their default values in the project; ... means no default.
_BACKBONE_KEYS = dict(
    feature_extractor=...,
    train_class_json=...,
    test_class_json=...,
    clip_pretrained=...,
    clip_finetune=...,
    custom_clip_weights=None,
    backbone_multiplier=0.01,
    prompt_depth=0,
    prompt_length=0,
    prompt_ensemble_type='imagenet',
    pixel_mean=(123.675, 116.280, 103.530),
    pixel_std=(58.395, 57.120, 57.375),
    clip_pixel_mean=CLIP_MEAN,
    clip_pixel_std=CLIP_STD,
    clip_img_feat_size=(24, 24),
    init_cfg=None,
)
_NECK_KEYS = dict(
    text_guidance_dim=512,
    text_guidance_proj_dim=128,
    appearance_guidance_dim=512,
    appearance_guidance_proj_dim=128,
    num_layers=4,
    num_heads=4,
    embed_dims=128,
    pooling_size=(6, 6),
    mlp_ratios=4,
    window_size=12,
    attention_type='linear',
    prompt_channel=80,
    init_cfg=None,
)
_HEAD_KEYS = dict(
    embed_dims=128,
    decoder_dims=(64, 32),
    decoder_guidance_dims=(256, 128),
    decoder_guidance_proj_dims=(32, 16),
    dropout_ratio=0.1,
    threshold=None,
    ignore_index=255,
    loss_decode=dict(
        type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0
    ),
    init_cfg=dict(type='Normal', std=0.01, override=dict(name='conv_seg')),
    # Other values of these keys are an error.
    out_channels=None,
    align_corners=False,
    sampler=None,
    # The keys below have no effect in either implementation: the class list
    # sets the number of classes.
    in_channels=None,
    channels=None,
    num_classes=None,
    in_index=-1,
    input_transform=None,
    conv_cfg=None,
    norm_cfg=None,
    act_cfg=None,
)
_ONLY = 'this package supports no other value'


def translate(model: Mapping) -> dict:
    """Translate a model config of the project CAT-Seg to this package.

    Args:
        model (Mapping): Config of an ``EncoderDecoder`` with
            ``CLIPOVCATSeg``, ``CATSegAggregator`` and ``CATSegHead``.

    Returns:
        dict: Config of an :class:`OpenVocabSegmentor` with the same outputs.

    Raises:
        InputError: If an option is unknown or missing, or contradicts
            another option.
    """
    backbone = _read(model, 'backbone', _BACKBONE, _BACKBONE_KEYS)
    neck = _read(model, 'neck', _NECK, _NECK_KEYS)
    head = _read(model, 'decode_head', _HEAD, _HEAD_KEYS)
    if model.get('auxiliary_head'):
        raise InputError(
            f'auxiliary_head cannot be used with the backbone {_BACKBONE}; '
            'remove it from the model'
        )
    train_texts, texts = _class_lists(backbone)
    templates = get_templates(backbone['prompt_ensemble_type'])
    _check_head(neck, head, templates)
    arch, tag, _, _ = _clip(backbone['clip_pretrained'])
    return dict(
        type='OpenVocabSegmentor',
        data_preprocessor=model.get('data_preprocessor'),
        clip=dict(
            arch=arch,
            pretrained=tag,
            custom_clip_weights=_existing(backbone['custom_clip_weights']),
        ),
        prompts=dict(
            templates=backbone['prompt_ensemble_type'], synonyms='mean'
        ),
        train_vocabulary=train_texts,
        vocabulary=texts,
        backbone=_guided_clip(backbone),
        text_encoder=dict(type='CLIPTextTransformer', finetune='none'),
        decode_head=_cost_head(neck, head),
        train_cfg=model.get('train_cfg'),
        test_cfg=dict(
            model.get('test_cfg') or {}, score_size='input', keep_scores=True
        ),
        init_cfg=model.get('init_cfg'),
    )


@MODELS.register_module(name='EncoderDecoder', force=True)
def build_encoder_decoder(**model: Any) -> EncoderDecoder:
    """Build an ``EncoderDecoder`` of MMSegmentation or of the project CAT-Seg.

    Args:
        **model (Any): Options of the ``EncoderDecoder``.

    Returns:
        EncoderDecoder: :class:`ProjectSegmentor` if the backbone is
        ``CLIPOVCATSeg``, otherwise MMSegmentation's ``EncoderDecoder``.
    """
    if type_name(model['backbone']) != _BACKBONE:
        return EncoderDecoder(**model)
    return ProjectSegmentor(**_arguments(translate(model)))


class ProjectSegmentor(OpenVocabSegmentor):
    """Segmentor that also loads checkpoints of the project CAT-Seg."""

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any
    ) -> None:
        if LAYOUTS['cat_seg_v1'].matches(state_dict):
            _, renamed = fit_to_model(self, state_dict, 'the checkpoint')
            state_dict.clear()
            state_dict.update(renamed.state_dict)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _read(model: Mapping, part: str, kind: str, keys: dict) -> dict:
    """Check the options of ``model[part]``, and add default values."""
    given = dict(model.get(part) or {})
    found = type_name(given)
    given.pop('type', None)
    if found != kind:
        raise InputError(
            f'model.{part} is {found!r}, but with the backbone {_BACKBONE} '
            f'it must be {kind!r}'
        )
    unknown = sorted(set(given) - set(keys))
    if unknown:
        raise InputError(
            f'{kind} has no option {", ".join(unknown)}; choose from '
            f'{", ".join(keys)}'
        )
    options = {**keys, **given}
    missing = [key for key, value in options.items() if value is ...]
    if missing:
        raise InputError(
            f'model.{part} ({kind}) lacks the options {", ".join(missing)}; '
            'add them to the config'
        )
    return options


def _clip(name: str) -> tuple[str, str, int, bool]:
    if name not in _CLIPS:
        raise InputError(
            f'clip_pretrained={name!r} is not supported; choose one of '
            f'{", ".join(_CLIPS)}'
        )
    return _CLIPS[name]


def _guided_clip(backbone: dict) -> dict:
    """Translate options of ``CLIPOVCATSeg`` to :class:`GuidedCLIP`."""
    _, _, side, resized = _clip(backbone['clip_pretrained'])
    # The project has no prompts for the CLIPs of open_clip.
    prompted = not resized and bool(backbone['prompt_depth'])
    clip = dict(
        type='CLIPViT',
        last_block='value',
        input_size=(side, side),
        pos_image_size=side if resized else None,
        prompts=dict(
            init='xavier',
            depth=backbone['prompt_depth'] if prompted else 0,
            length=backbone['prompt_length'] if prompted else 0,
        ),
        finetune=_finetune(backbone['clip_finetune'], prompted),
    )
    return dict(
        type='GuidedCLIP',
        clip=clip,
        guidance=backbone['feature_extractor'],
        mean=backbone['clip_pixel_mean'],
        std=backbone['clip_pixel_std'],
        guidance_mean=backbone['pixel_mean'],
        guidance_std=backbone['pixel_std'],
        frozen=['norm0' if backbone['backbone_multiplier'] > 0 else ''],
    )


def _finetune(mode: str, prompted: bool) -> str | list[str]:
    if mode == 'prompt' and not prompted:
        return 'none'
    return _FINETUNE.get(mode, 'none')


def _class_lists(backbone: dict) -> tuple[str | list, str | list]:
    """Return the class lists for training and for test."""
    train = _class_list(backbone['train_class_json'])
    test = _class_list(backbone['test_class_json'])
    if isinstance(test, str) and test.endswith('.json'):
        # A file that holds null stands for the classes of training.
        if json.loads(Path(test).read_text(encoding='utf-8')) is None:
            test = train
    return train, test


def _class_list(spec: str | list) -> str | list:
    if not isinstance(spec, str):
        return spec
    path = expanded(spec)
    if not path.is_file() and path.stem in shipped_vocabularies():
        warnings.warn(
            f'{path} does not exist; the class list {path.stem!r} of this '
            'package is used instead',
            stacklevel=2,
        )
        return path.stem
    return str(path)


def _existing(weights: str | None) -> str | None:
    """Return the path of a weight file; None if it does not exist."""
    path = expanded(weights) if weights else None
    return str(path) if path and path.exists() else None


def _cost_head(neck: dict, head: dict) -> dict:
    """Translate options of neck and head to :class:`CATSegCostHead`."""
    # 0.3 is the default of MMSegmentation.
    threshold = 0.3 if head['threshold'] is None else head['threshold']
    if not 0 < threshold < 1:
        raise InputError(
            f'decode_head.threshold={threshold!r} must be between 0 and 1, '
            'since it is a probability'
        )
    losses = head['loss_decode']
    losses = [losses] if isinstance(losses, Mapping) else losses
    return dict(
        type='CATSegCostHead',
        text_channels=neck['text_guidance_dim'],
        appearance_channels=neck['appearance_guidance_dim'],
        prompt_channels=neck['prompt_channel'],
        embed_dims=neck['embed_dims'],
        num_layers=neck['num_layers'],
        pad_len=None,
        spatial=dict(
            guidance_dims=neck['appearance_guidance_proj_dim'],
            num_heads=neck['num_heads'],
            window_size=neck['window_size'],
            mlp_ratio=neck['mlp_ratios'],
            mask_padding=False,
        ),
        classwise=dict(
            guidance_dims=neck['text_guidance_proj_dim'],
            num_heads=neck['num_heads'],
            attention=neck['attention_type'],
            pooling=neck['pooling_size'],
            test_pooling=None,
            ffn_identity=True,
        ),
        decoder=dict(
            guidance_channels=head['decoder_guidance_dims'],
            guidance_dims=head['decoder_guidance_proj_dims'],
            dims=head['decoder_dims'],
            dropout_ratio=head['dropout_ratio'],
        ),
        score='logits',
        # The project's threshold is a probability.
        threshold=math.log(threshold / (1 - threshold)),
        loss_decode=losses[0] if len(losses) == 1 else losses,
        with_accuracy=True,
        init_cfg=_own_init_cfg(head['init_cfg']),
    )


def _check_head(neck: dict, head: dict, templates: list[str]) -> None:
    """Raise if this package does not support an option of neck or head."""
    for key, value, needed, reason in (
        ('neck.init_cfg', neck['init_cfg'], None, _ONLY),
        ('decode_head.ignore_index', head['ignore_index'], 255, _ONLY),
        ('decode_head.align_corners', head['align_corners'], False, _ONLY),
        (
            'decode_head.sampler',
            head['sampler'],
            None,
            'the loss cannot sample pixels in this package',
        ),
        (
            'decode_head.out_channels',
            head['out_channels'],
            # MMSegmentation treats None in this way.
            head['num_classes'] if head['out_channels'] else None,
            'each class has one channel',
        ),
        (
            'neck.prompt_channel',
            neck['prompt_channel'],
            len(templates),
            'the number of templates of prompt_ensemble_type',
        ),
        (
            'decode_head.embed_dims',
            head['embed_dims'],
            neck['embed_dims'],
            "the neck's embed_dims",
        ),
    ):
        if value != needed:
            raise InputError(f'{key}={value!r} must be {needed!r}: {reason}')


def _own_init_cfg(init_cfg: dict | None) -> dict | None:
    if init_cfg is None:
        return None
    override = init_cfg.get('override')
    if isinstance(override, dict) and override.get('name') == 'conv_seg':
        return dict(init_cfg, override=dict(override, name='head'))
    return init_cfg


def _arguments(model: dict) -> dict:
    return {key: value for key, value in model.items() if key != 'type'}
