# SPDX-License-Identifier: Apache-2.0
"""CLIPs that are named by an address, as in open_clip.

The address is ``'hf-hub:ORG/NAME'`` for a repository of the Hugging Face hub,
or ``'local-dir:PATH'`` for a folder. The repository or folder contains the
weights and a config file of open_clip or transformers.
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
    'is a SigLIP, which is not supported: its image tower has attention '
    'pooling and no class token, and its text tower has no causal mask and '
    'another tokenizer; use a CLIP'
)
# Name of a tensor in the image tower and in the text tower, each with its
# possible prefixes: in a whole CLIP of open_clip, in a tower of open_clip, and
# in towers of old and new versions of transformers.
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
# Mean and standard deviation of the pixels in CLIP's training, RGB in [0, 1].
_NORMALISATION = dict(
    mean=CLIP_UNIT_MEAN,
    std=CLIP_UNIT_STD,
)
# Name of a size in open_clip: its name and default value in transformers.
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
    """Return whether a name is the address of a repository or a folder."""
    return isinstance(name, str) and name.startswith((HUB, FOLDER))


def source_arch(name: str) -> dict:
    """Read the architecture of a CLIP from the config file at an address.

    Args:
        name (str): Address, ``'hf-hub:ORG/NAME'`` or ``'local-dir:PATH'``.

    Returns:
        dict: Model config in open_clip's format.

    Raises:
        FileNotFoundError: If the folder does not exist, or the config file
            cannot be downloaded.
        InputError: If there is no config file, or if it does not describe a
            CLIP.
    """
    config = _config(name)
    if not config:
        raise InputError(
            f'{name} has no {_OPEN_CLIP_CONFIG} or config.json that describes '
            'a CLIP; set arch to the name of an open_clip model, and '
            'custom_clip_weights to the weight file'
        )
    return arch_of_config(config, name)


def read_source(name: str) -> WeightFile:
    """Read the weights and the config file of a CLIP at an address.

    Args:
        name (str): Address, ``'hf-hub:ORG/NAME'`` or ``'local-dir:PATH'``.

    Returns:
        WeightFile: Tensors by name, and content of the config file.

    Raises:
        FileNotFoundError: If the folder does not exist, or the files cannot
            be downloaded.
        InputError: If there is no weight file, or a file is damaged.
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
    """Convert the config file of a CLIP to a model config of open_clip.

    Args:
        config (Mapping): Content of open_clip's ``open_clip_config.json`` or
            of transformers' ``config.json``.
        where (str): Address or path of the CLIP, used in messages.

    Returns:
        dict: Model config in open_clip's format.

    Raises:
        InputError: If the config does not describe a whole CLIP.
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
            f'{where} describes a model of the type {kind!r}, expected '
            "'clip'; use the checkpoint of a CLIP model"
        )
    vision = config.get('vision_config') or {}
    text = config.get('text_config') or {}
    activation = activation_of(config)
    if activation not in ('gelu', 'quick_gelu'):
        raise InputError(
            f'{where} has the activation hidden_act={activation!r}, expected '
            "'gelu' or 'quick_gelu'; use another CLIP"
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
    """Return the name of the activation from the config file of a CLIP.

    If the file does not name the activation, the default is returned:
    ``'quick_gelu'`` for a file of transformers, ``'gelu'`` for a file of
    open_clip.

    Args:
        config (Mapping[str, Any]): Content of open_clip's
            ``open_clip_config.json`` or of transformers' ``config.json``.

    Returns:
        str | None: Name of the activation, such as ``'gelu'``. None if the
        file does not describe a CLIP.
    """
    if 'vision_config' in config or config.get('model_type') == 'clip':
        vision = config.get('vision_config') or {}
        return vision.get('hidden_act', 'quick_gelu')
    if 'model_cfg' in config or 'vision_cfg' in config:
        model = config.get('model_cfg', config)
        return 'quick_gelu' if model.get('quick_gelu') else 'gelu'
    return None


def warn_of_normalisation(config: Mapping[str, Any], where: str) -> None:
    """Warn if a CLIP needs a pixel normalisation that our configs do not use.

    Our configs use the mean and standard deviation of OpenAI's CLIP.

    Args:
        config (Mapping): Content of the config file of the CLIP.
        where (str): Name of the weight file, used in the message.

    Warns:
        UserWarning: If open_clip's ``preprocess_cfg`` in ``config`` has
            another mean or standard deviation.
    """
    images = config.get('preprocess_cfg') or {}
    for key, usual in _NORMALISATION.items():
        found = images.get(key, usual)
        if not np.allclose(found, usual, atol=1e-3):
            pixels = [round(255 * value, 3) for value in found]
            warnings.warn(
                f'{where} was trained on images normalised with {key} '
                f'{pixels}, but the configs of this package use '
                f'{[round(255 * value, 3) for value in usual]}; set {key} in '
                'model.data_preprocessor (CAT-Seg v1: in model.backbone)',
                stacklevel=4,
            )


def refuse_other_weights(names: Collection[str], where: str) -> None:
    """Raise if tensors belong to a SigLIP, or to only one tower of a CLIP.

    Args:
        names (Collection[str]): Names of the tensors in a weight file.
        where (str): Name of the file, used in messages.

    Raises:
        InputError: If the file contains a SigLIP, or lacks a tower.
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
    """Return the message for a file that has only one tower of a CLIP.

    ``image`` is True if this is the image tower, and False if it is the text
    tower.
    """
    there, missing = ('image', 'text') if image else ('text', 'image')
    return (
        f'{where} holds only the {there} tower of a CLIP, the {missing} tower '
        'is missing; save the whole CLIP (in transformers with '
        'CLIPModel.save_pretrained), or give the folder of the whole CLIP'
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
        raise InputError(
            f'{file} is not a JSON file ({error}); download it again'
        ) from error
    return content if isinstance(content, dict) else {}


def _folder(name: str) -> Path:
    folder = expanded(name.removeprefix(FOLDER))
    if name == FOLDER or not folder.is_dir():
        raise FileNotFoundError(
            f'{name}: the folder does not exist; give an existing folder as '
            f'{FOLDER}PATH'
        )
    return folder


def _repository(name: str) -> str:
    repository = name.removeprefix(HUB)
    if repository.count('/') != 1 or not all(repository.split('/')):
        raise InputError(
            f'{name} is not the address of a repository; write {HUB}ORG/NAME'
        )
    return repository


def _sizes(
    config: Mapping[str, Any], names: Mapping[str, tuple[str, int]]
) -> dict[str, int]:
    return {
        ours: config.get(theirs, default)
        for ours, (theirs, default) in names.items()
    }
