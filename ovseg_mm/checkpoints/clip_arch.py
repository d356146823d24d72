# SPDX-License-Identifier: Apache-2.0
"""CLIP architectures, as model configs in open_clip's format.

Functions import open_clip only where they need it: the import takes seconds.
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
    """Return the model config of a CLIP, with defaults filled in.

    The config is also checked. It has these keys, as in open_clip:

    - ``embed_dim``
    - ``vision_cfg`` with ``image_size``, ``layers``, ``width``,
      ``patch_size``; optional ``head_width``, ``mlp_ratio``,
      ``norm_kwargs=dict(eps=...)``
    - ``text_cfg`` with ``layers``, ``width``; optional ``heads``,
      ``mlp_ratio``, ``context_length``, ``vocab_size``
    - optional ``quick_gelu``

    Args:
        arch (str | dict): Name of an open_clip model (``'ViT-B-16'``),
            address of a repository on the Hugging Face hub
            (``'hf-hub:ORG/NAME'``), address of a folder
            (``'local-dir:PATH'``), or the model config itself.
        pretrained (str, optional): Tag of weights in open_clip, such as
            ``'openai'``. It decides the activation: QuickGELU if open_clip
            uses QuickGELU for this tag.

    Returns:
        dict: Deep copy of the model config. Missing optional keys except
        ``norm_kwargs`` have their default value; ``vision_cfg['heads']`` is
        added.

    Raises:
        ValueError: If the name or the tag is unknown, a key is missing or
            has a wrong value, or the architecture is not a plain vision
            transformer.
    """
    if is_source(arch):
        if pretrained is not None:
            raise InputError(
                f'arch={arch!r} is the address of a CLIP with its own '
                f'weights, so pretrained={pretrained!r} cannot be used; set '
                'pretrained=None (--cfg-options model.clip.pretrained=None)'
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
            f'arch={arch!r} must be the name of an open_clip model, such as '
            "'ViT-B-16', or a dict with the keys of its model config"
        )
    config.pop('custom_text', None)  # only changes open_clip's tensor names
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
    """Return the shapes of the tensors of a CLIP.

    Args:
        arch (dict): Model config that :func:`clip_arch` returned.

    Returns:
        dict[str, tuple[int, ...]]: Shapes by tensor name. Names of the image
        tower begin with ``visual.``, names of the text tower have no prefix.
        ``logit_scale`` is left out.
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
    """Return the names of the open_clip models that clip_arch() accepts."""
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
                f"write 'hf-hub:{name}' for a repository of the hub; "
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
            f'pretrained={tag!r} is an address, not a tag of open_clip; '
            f'leave pretrained out, and set custom_clip_weights={tag!r} (only '
            f'the weights are read there) or arch={tag!r} (architecture and '
            'weights are read there)'
        )
    if not open_clip.is_pretrained_cfg(name, tag):
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise InputError(
            f'pretrained={tag!r} is not a tag of {name} in open_clip (tags: '
            f'{", ".join(tags) or "none"}); choose one of the tags, or set '
            'custom_clip_weights to a weight file and leave pretrained out'
        )
    return bool(open_clip.get_pretrained_cfg(name, tag).get('quick_gelu'))


def _refuse_other_kinds(name: str, config: dict) -> None:
    """Raise if a model config has options that our towers do not support.

    Unsupported options with the default value of open_clip are removed from
    the config.
    """
    if 'siglip' in name.lower() or 'init_logit_bias' in config:
        raise InputError(f'{name} {SIGLIP}; {_SUPPORTED}')
    # Kinds of towers that open_clip takes from other libraries.
    for part, key, kind in (
        ('vision_cfg', 'timm_model_name', 'an image tower of timm'),
        ('text_cfg', 'hf_model_name', 'a text tower of transformers'),
    ):
        if other := config.get(part, {}).get(key):
            raise InputError(
                f'{name} has {kind} ({part}.{key}={other!r}), which is not '
                f'supported; {_SUPPORTED}'
            )
    missing = {'embed_dim', 'vision_cfg', 'text_cfg'} - set(config)
    if missing:
        raise InputError(
            f'the model config of {name} lacks {", ".join(sorted(missing))}; '
            'add the missing keys'
        )
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
            f'the model config of {name} has {", ".join(foreign)}, which is '
            f'not supported; {_SUPPORTED}'
        )


def _without_defaults(
    sizes: dict, part: str, known: set[str]
) -> tuple[dict, list[str]]:
    """Split the options of a tower into supported and unsupported options.

    An unsupported option is ignored if it has the default value of open_clip,
    since it then changes nothing.

    Args:
        sizes (dict): Options of the tower.
        part (str): Key of the tower in the model config, ``'vision_cfg'`` or
            ``'text_cfg'``.
        known (set[str]): Names of the supported options.

    Returns:
        tuple[dict, list[str]]: Supported options, and names of the
        unsupported options that are not ignored.
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
                f'{key} of {name} is {value!r}; set it to a positive integer'
            )
    if vision['width'] % vision['head_width']:
        raise InputError(
            f'vision_cfg.width={vision["width"]} of {name} is not divisible '
            f'by vision_cfg.head_width={vision["head_width"]}; correct one of '
            'the two'
        )
    if text['width'] % text['heads']:
        raise InputError(
            f'text_cfg.width={text["width"]} of {name} is not divisible by '
            f'text_cfg.heads={text["heads"]}; correct one of the two'
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
