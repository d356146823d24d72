# SPDX-License-Identifier: Apache-2.0
"""CLIP architectures: open_clip's model configs, completed and checked.

open_clip is imported inside the functions, since that takes seconds and an
architecture given as a dict needs none of it.
"""

import difflib
from copy import deepcopy

from ovseg_mm.utils.errors import InputError

from .clip_sources import SIGLIP, is_source, source_arch

_TOP_KEYS = {'embed_dim', 'vision_cfg', 'text_cfg', 'quick_gelu'}
_VISION_KEYS = {
    'image_size',
    'layers',
    'width',
    'head_width',
    'patch_size',
    'mlp_ratio',
    'heads',
    'norm_kwargs',
}
_TEXT_KEYS = {
    'context_length',
    'vocab_size',
    'width',
    'heads',
    'layers',
    'mlp_ratio',
}
_SUPPORTED = (
    "supported are open_clip's plain vision transformers with a causal text "
    'transformer (ViT-B-32, ViT-B-16, ViT-L-14, ViT-L-14-336, ViT-H-14, '
    'ViT-bigG-14 and similar ones)'
)


def clip_arch(arch: str | dict, pretrained: str | None = None) -> dict:
    """Complete and check the description of a CLIP.

    Args:
        arch (str | dict): Name of an open_clip model config (``'ViT-B-16'``);
            a hub repository, ``'hf-hub:ORG/NAME'``, or a folder,
            ``'local-dir:PATH'``, that has the config; or such a config:
            ``embed_dim``, ``vision_cfg`` (``image_size,
            layers, width, patch_size`` and optionally ``head_width,
            mlp_ratio, norm_kwargs=dict(eps=...)``), ``text_cfg`` (``width,
            layers`` and optionally ``heads, mlp_ratio, context_length,
            vocab_size``) and optionally ``quick_gelu``.
        pretrained (str, optional): open_clip's tag of the weights. It
            decides the activation, which shapes do not show:
            ``'openai'`` means QuickGELU.

    Returns:
        dict: A deep copy of the config with all these keys filled in, and
        ``vision_cfg['heads']`` added.

    Raises:
        ValueError: If the name or the tag is unknown, or the architecture
            is not a plain vision transformer.
    """
    if is_source(arch):
        if pretrained is not None:
            raise InputError(
                f'{arch} has weights of its own; leave pretrained='
                f'{pretrained!r} out (--cfg-options model.clip.pretrained='
                'None)'
            )
        name, config, quick_gelu = arch, source_arch(arch), False
    elif isinstance(arch, str):
        name, config = arch, _named_config(arch)
        quick_gelu = _tag_has_quick_gelu(arch, pretrained)
    elif isinstance(arch, dict):
        name, config = 'the CLIP given as a dict', deepcopy(dict(arch))
        quick_gelu = pretrained == 'openai'
    else:
        raise InputError(
            f'arch={arch!r} must be the name of an open_clip model or a dict '
            'like its model configs'
        )
    config.pop('custom_text', None)  # says how open_clip names the tensors
    _refuse_other_kinds(name, config)
    vision = config['vision_cfg'] = dict(config['vision_cfg'])
    text = config['text_cfg'] = dict(config['text_cfg'])
    config['quick_gelu'] = bool(config.get('quick_gelu', False)) or quick_gelu
    vision.setdefault('head_width', 64)
    vision.setdefault('mlp_ratio', 4.0)
    text.setdefault('context_length', 77)
    text.setdefault('vocab_size', 49408)
    text.setdefault('mlp_ratio', 4.0)
    text.setdefault('heads', text['width'] // 64)
    vision['heads'] = vision['width'] // vision['head_width']
    _check_sizes(name, config)
    return config


def clip_shapes(arch: dict) -> dict[str, tuple[int, ...]]:
    """List the tensors of a CLIP.

    Args:
        arch (dict): Result of :func:`clip_arch`.

    Returns:
        dict[str, tuple[int, ...]]: Shape by name; the image tower under
        ``visual.``, the text tower without a prefix, no ``logit_scale``.
    """
    vision, text, embed = (
        arch['vision_cfg'],
        arch['text_cfg'],
        arch['embed_dim'],
    )
    width, patch = vision['width'], vision['patch_size']
    tokens = (vision['image_size'] // patch) ** 2 + 1
    shapes = {
        'visual.class_embedding': (width,),
        'visual.positional_embedding': (tokens, width),
        'visual.proj': (width, embed),
        'visual.conv1.weight': (width, 3, patch, patch),
        'token_embedding.weight': (text['vocab_size'], text['width']),
        'positional_embedding': (text['context_length'], text['width']),
        'text_projection': (text['width'], embed),
    }
    for norm in ('visual.ln_pre', 'visual.ln_post'):
        shapes.update(_pair(norm, width))
    shapes.update(_pair('ln_final', text['width']))
    for prefix, tower in (('visual.', vision), ('', text)):
        for index in range(tower['layers']):
            shapes.update(
                _block_shapes(
                    f'{prefix}transformer.resblocks.{index}.',
                    tower['width'],
                    int(tower['width'] * tower['mlp_ratio']),
                )
            )
    return shapes


def plain_vit_names() -> list[str]:
    """List the open_clip models that :func:`clip_arch` accepts."""
    import open_clip

    names = []
    for name in open_clip.list_models():
        try:
            clip_arch(name)
        except ValueError:
            continue
        names.append(name)
    return names


def _named_config(name: str) -> dict:
    import open_clip

    names = open_clip.list_models()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=4, cutoff=0.4)
        raise InputError(
            f'{name!r} is not an open_clip model; '
            + (
                f"a repository of the hub is written 'hf-hub:{name}'; "
                if '/' in name
                else ''
            )
            + (f'did you mean {" or ".join(near)}? ' if near else '')
            + _SUPPORTED
        )
    return open_clip.get_model_config(name)


def _tag_has_quick_gelu(name: str, tag: str | None) -> bool:
    if tag is None:
        return False
    import open_clip

    if is_source(tag):
        raise InputError(
            f'pretrained={tag!r} is not a tag of open_clip; give it as '
            'custom_clip_weights, or as arch, and leave pretrained out'
        )
    if not open_clip.is_pretrained_cfg(name, tag):
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise InputError(
            f'open_clip knows no weights {tag!r} for {name}; it knows '
            f'{", ".join(tags) or "none"}; give weights of your own as '
            'custom_clip_weights and leave pretrained out'
        )
    return bool(open_clip.get_pretrained_cfg(name, tag).get('quick_gelu'))


def _refuse_other_kinds(name: str, config: dict) -> None:
    """Raise if ``config`` has options that the towers do not support."""
    if 'siglip' in name.lower() or 'init_logit_bias' in config:
        raise InputError(f'{name} {SIGLIP}; {_SUPPORTED}')
    # Kinds of towers that open_clip takes from other libraries.
    for part, key, kind in (
        ('vision_cfg', 'timm_model_name', 'an image tower of timm'),
        ('text_cfg', 'hf_model_name', 'a text tower of transformers'),
    ):
        if other := config.get(part, {}).get(key):
            raise InputError(
                f'{name} has {kind} ({part}.{key}={other!r}), which is '
                f'built otherwise: {_SUPPORTED}'
            )
    missing = {'embed_dim', 'vision_cfg', 'text_cfg'} - set(config)
    if missing:
        raise InputError(f'{name} lacks {", ".join(sorted(missing))}')
    foreign = sorted(set(config) - _TOP_KEYS)
    for part, known in (
        ('vision_cfg', _VISION_KEYS),
        ('text_cfg', _TEXT_KEYS),
    ):
        config[part], others = _without_defaults(config[part], part, known)
        foreign += [f'{part}.{key}' for key in others]
    vision = config['vision_cfg']
    if not vision.get('norm_kwargs'):
        vision.pop('norm_kwargs', None)
    foreign += [
        f'vision_cfg.norm_kwargs.{key}'
        for key in sorted(set(vision.get('norm_kwargs', ())) - {'eps'})
    ]
    if isinstance(vision.get('layers'), (list, tuple)):
        foreign.append('vision_cfg.layers as a list (a ResNet)')
    if foreign:
        raise InputError(
            f'{name} has {", ".join(foreign)}, which the CLIP towers here do '
            f'not know: {_SUPPORTED}'
        )


def _without_defaults(
    sizes: dict, part: str, known: set[str]
) -> tuple[dict, list[str]]:
    """Remove unknown options that have open_clip's default value.

    Args:
        sizes (dict): Options of one tower.
        part (str): ``'vision_cfg'`` or ``'text_cfg'``.
        known (set[str]): Options that are read here.

    Returns:
        tuple[dict, list[str]]: The known options, and the names of unknown
        options with another value than the default.
    """
    others = sorted(set(sizes) - known)
    if not others:
        return dict(sizes), []
    import open_clip

    kinds = dict(
        vision_cfg=open_clip.CLIPVisionCfg, text_cfg=open_clip.CLIPTextCfg
    )
    defaults = vars(kinds[part]())
    others = [
        key
        for key in others
        if key not in defaults or sizes[key] != defaults[key]
    ]
    kept = {key: value for key, value in sizes.items() if key in known}
    return kept, others


def _check_sizes(name: str, config: dict) -> None:
    vision, text = config['vision_cfg'], config['text_cfg']
    needed = (
        ('embed_dim', config.get('embed_dim')),
        *(
            (f'vision_cfg.{key}', vision.get(key))
            for key in (
                'image_size',
                'layers',
                'width',
                'patch_size',
                'head_width',
            )
        ),
        *(
            (f'text_cfg.{key}', text.get(key))
            for key in (
                'layers',
                'width',
                'heads',
                'context_length',
                'vocab_size',
            )
        ),
    )
    for key, value in needed:
        if not isinstance(value, int) or value < 1:
            raise InputError(
                f'{key} of {name} is {value!r}, expected a positive integer'
            )
    if vision['width'] % vision['head_width']:
        raise InputError(
            f'vision_cfg.width={vision["width"]} of {name} is not divisible '
            f'by head_width={vision["head_width"]}'
        )
    if text['width'] % text['heads']:
        raise InputError(
            f'text_cfg.width={text["width"]} of {name} is not divisible by '
            f'heads={text["heads"]}'
        )


def _pair(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def _block_shapes(
    prefix: str, width: int, hidden: int
) -> dict[str, tuple[int, ...]]:
    square = (width, width)
    return {
        **{f'{prefix}attn.{key}_proj_weight': square for key in 'qkv'},
        f'{prefix}attn.in_proj_bias': (3 * width,),
        f'{prefix}attn.out_proj.weight': square,
        f'{prefix}attn.out_proj.bias': (width,),
        f'{prefix}mlp.c_fc.weight': (hidden, width),
        f'{prefix}mlp.c_fc.bias': (hidden,),
        f'{prefix}mlp.c_proj.weight': (width, hidden),
        f'{prefix}mlp.c_proj.bias': (width,),
        **_pair(f'{prefix}ln_1', width),
        **_pair(f'{prefix}ln_2', width),
    }
