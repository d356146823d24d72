# SPDX-License-Identifier: Apache-2.0
"""CLIPs named by their address, as in open_clip: on the hub or in a folder.

``'hf-hub:ORG/NAME'`` is a repository of the hub, ``'local-dir:PATH'`` a
folder; both hold weights and a config, open_clip's or transformers'.
"""

import json
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ovseg_mm.utils.clip_statistics import CLIP_UNIT_MEAN, CLIP_UNIT_STD
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import expanded

from .clip_hub import fetch_hub_file
from .files import WeightFile, config_of_folder, read_weights

HUB, FOLDER = 'hf-hub:', 'local-dir:'
_OPEN_CLIP_CONFIG = 'open_clip_config.json'
_OPEN_CLIP_WEIGHTS = (
    'open_clip_model.safetensors',
    'open_clip_pytorch_model.bin',
)
_WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
SIGLIP = (
    'is a SigLIP, which the CLIP towers here cannot be: its image tower has '
    'no class token, but a pooling by attention, and its text tower is not '
    'causal and has a tokenizer of its own; take a CLIP'
)
# A tensor that each tower has, and its prefixes: open_clip's whole model and
# tower, transformers' old and new towers.
_TOWERS = (
    (
        'class_embedding',
        ('visual.', '', 'vision_model.embeddings.', 'embeddings.'),
    ),
    (
        'token_embedding.weight',
        ('', 'text.', 'text_model.embeddings.', 'embeddings.'),
    ),
)
# Mean and standard deviation of CLIP's images, in [0, 1].
_NORMALISATION = dict(
    mean=CLIP_UNIT_MEAN,
    std=CLIP_UNIT_STD,
)
# Our name of a size: transformers' name and default of it.
_VISION_SIZES = {
    'width': ('hidden_size', 768),
    'layers': ('num_hidden_layers', 12),
    'image_size': ('image_size', 224),
    'patch_size': ('patch_size', 32),
}
_TEXT_SIZES = {
    'width': ('hidden_size', 512),
    'layers': ('num_hidden_layers', 12),
    'heads': ('num_attention_heads', 8),
    'context_length': ('max_position_embeddings', 77),
    'vocab_size': ('vocab_size', 49408),
}


def is_source(name: object) -> TypeGuard[str]:
    """Whether a name means a repository of the hub or a folder."""
    return isinstance(name, str) and name.startswith((HUB, FOLDER))


def source_arch(name: str) -> dict:
    """Read the architecture of a CLIP from the config of its source.

    Args:
        name (str): ``'hf-hub:ORG/NAME'`` or ``'local-dir:PATH'``.

    Returns:
        dict: A model config as open_clip has it.

    Raises:
        FileNotFoundError: If the folder does not exist, or its files cannot be
            fetched.
        InputError: If its config describes something else than a CLIP.
    """
    config = _config(name)
    if not config:
        raise InputError(
            f'{name} has no {_OPEN_CLIP_CONFIG} or config.json that describes '
            'a CLIP; name an open_clip model as arch, and give the weights as '
            'custom_clip_weights'
        )
    return arch_of_config(config, name)


def read_source(name: str) -> WeightFile:
    """Read the weights of a source, with its config.

    Args:
        name (str): See :func:`source_arch`.

    Returns:
        WeightFile: The weights and their config.

    Raises:
        FileNotFoundError: If the folder does not exist, or its files cannot be
            fetched.
        InputError: If they hold no weights, or are damaged.
    """
    if name.startswith(FOLDER):
        return read_weights(_folder(name))
    config = _config(name)
    names = _OPEN_CLIP_WEIGHTS if 'model_cfg' in config else ()
    file = fetch_hub_file(
        _repository(name), (*names, *_WEIGHTS), name, tell_licence=True
    )
    return read_weights(file)._replace(config=config)


def arch_of_config(config: Mapping[str, Any], where: str) -> dict:
    """Return the architecture in the content of a config file.

    Args:
        config (Mapping): ``open_clip_config.json`` or ``config.json``.
        where (str): Name of the config in messages.

    Returns:
        dict: A model config as open_clip has it.

    Raises:
        InputError: If it describes something else than a whole CLIP.
    """
    kind = str(config.get('model_type', ''))
    if kind.startswith('siglip'):
        raise InputError(f'{where} {SIGLIP}')
    if not kind and 'vision_config' not in config:
        return dict(config.get('model_cfg', config))
    if kind in ('clip_vision_model', 'clip_text_model'):
        raise InputError(one_tower(where, 'vision' in kind))
    if kind not in ('clip', ''):
        raise InputError(
            f"{where} describes a model of the type {kind!r}, expected 'clip'"
        )
    vision = config.get('vision_config') or {}
    text = config.get('text_config') or {}
    activation = activation_of(config)
    if activation not in ('gelu', 'quick_gelu'):
        raise InputError(
            f"{where} has hidden_act={activation!r}, expected 'gelu' or "
            "'quick_gelu'"
        )
    sizes = {
        'vision_cfg': _sizes(vision, _VISION_SIZES),
        'text_cfg': _sizes(text, _TEXT_SIZES),
    }
    width = sizes['vision_cfg']['width']
    hidden = vision.get('intermediate_size', 3072)
    heads = vision.get('num_attention_heads', 12)
    sizes['vision_cfg'].update(
        head_width=width // heads, mlp_ratio=hidden / width
    )
    hidden = text.get('intermediate_size', 2048)
    sizes['text_cfg']['mlp_ratio'] = hidden / sizes['text_cfg']['width']
    return dict(
        embed_dim=config.get('projection_dim', 512),
        quick_gelu=activation == 'quick_gelu',
        **sizes,
    )


def activation_of(config: Mapping[str, Any]) -> str | None:
    """Activation that a config file names, ``'gelu'`` or ``'quick_gelu'``.

    A config without the key means the default of the library that wrote it.

    Args:
        config (Mapping[str, Any]): Content of the config file.

    Returns:
        str | None: The activation; None if the config is not of a CLIP.
    """
    if 'vision_config' in config or config.get('model_type') == 'clip':
        vision = config.get('vision_config') or {}
        return vision.get('hidden_act', 'quick_gelu')
    if 'model_cfg' in config or 'vision_cfg' in config:
        model = config.get('model_cfg', config)
        return 'quick_gelu' if model.get('quick_gelu') else 'gelu'
    return None


def warn_of_normalisation(config: Mapping[str, Any], where: str) -> None:
    """Warn of weights that were trained with other pixel statistics.

    Args:
        config (Mapping): See :func:`arch_of_config`.
        where (str): Name of the config in the message.

    Warns:
        UserWarning: If open_clip's ``preprocess_cfg`` does not normalise as
            the configs here do.
    """
    images = config.get('preprocess_cfg') or {}
    for key, usual in _NORMALISATION.items():
        found = images.get(key, usual)
        if not np.allclose(found, usual, atol=1e-3):
            pixels = [round(255 * value, 3) for value in found]
            warnings.warn(
                f'{where} was trained on images normalised with {key} '
                f'{pixels}, the configs here use '
                f'{[round(255 * value, 3) for value in usual]}; set it in '
                'model.data_preprocessor (CAT-Seg v1: model.backbone)',
                stacklevel=4,
            )


def refuse_other_weights(names: Collection[str], where: str) -> None:
    """Raise for tensors of a SigLIP, or of only one tower.

    Args:
        names (Collection[str]): Names of the tensors.
        where (str): Name of their file in messages.
    """
    if 'logit_bias' in names or 'vision_model.head.probe' in names:
        raise InputError(f'{where} {SIGLIP}')
    image, text = (
        any(f'{prefix}{stem}' in names for prefix in prefixes)
        for stem, prefixes in _TOWERS
    )
    if image != text and 'token_embedding.rows' not in names:
        raise InputError(one_tower(where, image))


def one_tower(where: str, image: bool) -> str:
    """Return the message for a file that holds one tower."""
    there, missing = ('image', 'text') if image else ('text', 'image')
    return (
        f'{where} holds the {there} tower of a CLIP alone; the {missing} '
        'tower and its projection are missing: save the whole CLIP '
        '(transformers: CLIPModel.save_pretrained), or give the folder that '
        'the tower was taken from'
    )


def _config(name: str) -> dict:
    if name.startswith(FOLDER):
        return config_of_folder(_folder(name))
    file = fetch_hub_file(
        _repository(name), (_OPEN_CLIP_CONFIG, 'config.json'), name
    )
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise InputError(f'{file} is not a JSON file: {error}') from error
    return content if isinstance(content, dict) else {}


def _folder(name: str) -> Path:
    folder = expanded(name.removeprefix(FOLDER))
    if name == FOLDER or not folder.is_dir():
        raise FileNotFoundError(
            f'{name}: the folder does not exist; write {FOLDER}PATH'
        )
    return folder


def _repository(name: str) -> str:
    repository = name.removeprefix(HUB)
    if repository.count('/') != 1 or not all(repository.split('/')):
        raise InputError(
            f'{name} is not the name of a repository; write {HUB}ORG/NAME'
        )
    return repository


def _sizes(
    config: Mapping[str, Any], names: Mapping[str, tuple[str, int]]
) -> dict[str, int]:
    return {
        ours: config.get(theirs, default)
        for ours, (theirs, default) in names.items()
    }
