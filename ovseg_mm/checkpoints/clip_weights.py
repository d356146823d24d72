# SPDX-License-Identifier: Apache-2.0
"""Loading of both towers of a CLIP, from a file or the Hugging Face hub."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import find_weights

from .clip_arch import clip_arch, clip_shapes, plain_vit_names
from .clip_hub import fetch_clip_weights
from .clip_sources import (
    activation_of,
    is_source,
    read_source,
    refuse_other_weights,
    warn_of_normalisation,
)
from .files import WeightFile, check_finite, read_weights
from .fit import has_own_names, unrenamed
from .layouts import recognise
from .rename import Renamed

# First parts of the names in a CLIP that this package has converted. A
# segmentor whose head has no parameters has the same ones.
_OWN_PARTS = {'backbone', 'text_encoder', 'logit_scale'}


def load_clip_weights(
    arch: str | dict,
    pretrained: str | None = None,
    custom_clip_weights: str | Path | None = None,
) -> dict[str, Tensor] | None:
    """Load the image tower and the text tower of a CLIP.

    If ``custom_clip_weights`` is set, the weights come from there. Otherwise,
    if ``arch`` is an address, they come from this address. Otherwise
    ``pretrained`` names weights in open_clip, which are read from a cache or
    downloaded.

    Args:
        arch (str | dict): Architecture, as for :func:`clip_arch`; may be an
            address, ``'hf-hub:ORG/NAME'`` or ``'local-dir:PATH'``.
        pretrained (str, optional): Tag of weights in open_clip.
        custom_clip_weights (str | Path, optional): Weight file, folder or
            address. Accepted are TorchScript archives of OpenAI; ``.bin``,
            ``.pt`` and ``.safetensors`` files of open_clip; folders of
            open_clip or of transformers' ``CLIPModel.save_pretrained``; and
            files of this package. A relative path may also name a file that
            comes with the package.

    Returns:
        dict[str, Tensor] | None: Tensors of the CLIP, float32. They have
        OpenAI's names, but q, k and v have three weights instead of one.
        Names of the image tower begin with ``visual.``, names of the text
        tower have no prefix. ``logit_scale`` is included if the file has it.
        None if the arguments name no weights; the CLIP then keeps its random
        weights.

    Raises:
        FileNotFoundError: If the weights do not exist or cannot be
            downloaded.
        InputError: If the weights do not fit ``arch``.
    """
    if custom_clip_weights is None and is_source(arch):
        custom_clip_weights = str(arch)
    if custom_clip_weights is None and pretrained is None:
        return None
    config = clip_arch(arch, pretrained)
    if custom_clip_weights is not None:
        file = _read_custom(custom_clip_weights)
    else:
        assert pretrained is not None, 'no weights are given'
        if not isinstance(arch, str):
            raise InputError(
                f'pretrained={pretrained!r} needs arch to be the name of an '
                'open_clip model, but arch is a dict; set arch to a name, or '
                'custom_clip_weights to a weight file'
            )
        # The tag decides the activation, even if a config file differs.
        file = read_weights(fetch_clip_weights(arch, pretrained))
        file = file._replace(config={})
    refuse_other_weights(file.tensors, str(file.path))
    warn_of_normalisation(file.config, str(file.path))
    _check_activation(file, config)
    state_dict = _clip_state_dict(file, config, arch)
    check_finite(state_dict, str(file.path))
    return state_dict


def _read_custom(name: str | Path) -> WeightFile:
    if is_source(name):
        return read_source(str(name))
    path = find_weights(name)
    if not path.exists() and re.fullmatch(r'[\w.-]+/[\w.-]+', str(name)):
        raise FileNotFoundError(
            f'{name} does not exist; give the path of a weight file or, for '
            f"a repository of the hub, 'hf-hub:{name}'"
        )
    return read_weights(path)


def _renamed(file: WeightFile) -> Renamed:
    """Rename the tensors of a CLIP file to the names in our models."""
    parts = {name.partition('.')[0] for name in file.tensors}
    if has_own_names(file.tensors) and parts <= _OWN_PARTS:
        return unrenamed(file.tensors)
    if has_own_names(file.tensors):
        method = 'a segmentor'
    else:
        layout = recognise(file.tensors, str(file.path))
        if layout.method == 'CLIP':
            return layout.convert(file.tensors)
        method = layout.method
    raise InputError(
        f'{file.path} is a checkpoint of {method}, expected a file that holds '
        'only a CLIP; give another file'
    )


def _clip_state_dict(
    file: WeightFile, config: dict, arch: str | dict
) -> dict[str, Tensor]:
    converted = _renamed(file)
    state_dict = {}
    for name, tensor in converted.state_dict.items():
        name = name.replace('backbone.', 'visual.', 1)
        state_dict[name.replace('text_encoder.', '', 1)] = tensor.float()
    expected = clip_shapes(config)
    found = {
        name: tuple(tensor.shape)
        for name, tensor in state_dict.items()
        if name != 'logit_scale'
    }
    name = arch if isinstance(arch, str) else 'the CLIP of the config'
    wrong = [key for key in expected if found.get(key) != expected[key]]
    surplus = [key for key in found if key not in expected]
    surplus += converted.unused
    if not wrong and not surplus:
        return state_dict
    raise InputError(
        f'{file.path} does not fit {name}: '
        + (
            f'{wrong[0]} is {found.get(wrong[0], "missing")}, expected '
            f'{expected[wrong[0]]}'
            if wrong
            else f'{surplus[0]} is not a tensor of this CLIP'
        )
        + f' ({len(wrong) + len(surplus)} tensors do not fit); '
        + _looks_like(found)
        + '; change arch or give another file'
    )


def _check_activation(file: WeightFile, config: dict) -> None:
    """Raise if a weight file needs another activation than ``config`` has.

    Args:
        file (WeightFile): Weight file of a CLIP.
        config (dict): Model config that :func:`clip_arch` returned.
    """
    if file.kind == 'torchscript' and 'input_resolution' in file.tensors:
        wants = True
        reason = "the file is OpenAI's archive, trained with QuickGELU"
    elif activation := activation_of(file.config):
        wants = activation == 'quick_gelu'
        if 'vision_config' in file.config:
            reason = f'its config.json says hidden_act={activation!r}'
        else:
            reason = f'its open_clip_config.json says quick_gelu={wants}'
    else:
        return
    if wants != config['quick_gelu']:
        have = 'QuickGELU' if config['quick_gelu'] else 'GELU'
        remedy = (
            "set pretrained='openai' (or quick_gelu=True in an arch dict)"
            if wants
            else 'set pretrained to a tag without QuickGELU'
        )
        raise InputError(
            f'{file.path} does not fit a CLIP with {have}: {reason}; {remedy}'
        )


def _looks_like(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Describe, for a message, the CLIP whose tensors have these shapes."""
    try:
        width, _, patch, _ = shapes['visual.conv1.weight']
        tokens = shapes['visual.positional_embedding'][0]
        embed = shapes['visual.proj'][1]
        text_width = shapes['text_projection'][0]
    except (KeyError, ValueError, IndexError):
        return 'the file holds no CLIP with a plain vision transformer'
    layers, text_layers = (
        len({name.split('.')[at] for name in shapes if name.startswith(stem)})
        for stem, at in (
            ('visual.transformer.resblocks.', 3),
            ('transformer.resblocks.', 2),
        )
    )
    size = round((tokens - 1) ** 0.5) * patch
    facts = (width, layers, patch, embed, text_width, text_layers)
    kin = []
    for name in plain_vit_names():
        other = clip_arch(name)
        vision, text = other['vision_cfg'], other['text_cfg']
        if name.endswith('-quickgelu') or facts != (
            vision['width'],
            vision['layers'],
            vision['patch_size'],
            other['embed_dim'],
            text['width'],
            text['layers'],
        ):
            continue
        if (vision['image_size'] // patch) ** 2 + 1 == tokens:
            kin.append(name)
    return (
        'the file seems to hold '
        f'{" or ".join(kin) or "a CLIP that open_clip does not list"} (image '
        f'tower: width {width}, {layers} layers, patch size {patch}, image '
        f'size {size}; text tower: width {text_width}, {text_layers} layers; '
        f'embedding size {embed})'
    )
