# SPDX-License-Identifier: Apache-2.0
"""Options and weights of the CLIP towers of a model."""

import warnings
from collections.abc import Mapping

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.checkpoints import load_clip_weights
from ovseg_mm.checkpoints.clip_sources import is_source
from ovseg_mm.utils.config_types import is_type

from .backbones import CLIPViT
from .text_encoder import CLIPTextTransformer

TOWERS = (CLIPViT, CLIPTextTransformer)
# Options of CLIP that towers inherit from their model.
TOWER_OPTIONS = ('arch', 'pretrained', 'finetune')


def with_tower_options(cfg: dict, clip: Mapping) -> dict:
    """Add the options of ``clip`` to the config of every CLIP tower.

    Args:
        cfg (dict): Config of a module, which may contain towers at any depth.
            It is not changed.
        clip (Mapping): Options ``arch``, ``pretrained`` and ``finetune``.
            Each is added to the towers whose config does not set it.

    Returns:
        dict: Copy of ``cfg`` with the added options.
    """
    cfg = {
        key: with_tower_options(value, clip)
        if isinstance(value, dict) and key != 'arch'
        else value
        for key, value in cfg.items()
    }
    if is_type(cfg, TOWERS, MODELS):
        for key in TOWER_OPTIONS:
            if key in clip:
                cfg.setdefault(key, clip[key])
    return cfg


def init_clip_towers(model: BaseModule, clip: Mapping) -> dict[str, Tensor]:
    """Load CLIP's published weights into every CLIP tower of a model.

    Args:
        model (BaseModule): Model with any number of towers, changed in place.
        clip (Mapping): Arguments ``arch``, ``pretrained`` and
            ``custom_clip_weights`` of :func:`load_clip_weights`.

    Returns:
        dict[str, Tensor]: Weights of image tower and text tower by CLIP's
        names; empty if ``clip`` does not choose weights.
    """
    weights = load_clip_weights(
        clip.get('arch', ''),
        clip.get('pretrained'),
        clip.get('custom_clip_weights'),
    )
    if weights is None:
        return {}
    image, text = {}, {}
    for name, tensor in weights.items():
        if name.startswith('visual.'):
            image[name.removeprefix('visual.')] = tensor
        elif name != 'logit_scale':
            text[name] = tensor
    for module in model.modules():
        if isinstance(module, CLIPViT):
            position = module.fit_position(image['positional_embedding'])
            _load(module, {**image, 'positional_embedding': position})
        elif isinstance(module, CLIPTextTransformer):
            _load(module, text)
    return weights


def parameters_of_no_file(model: nn.Module) -> list[str]:
    """List the parameters that need training or a checkpoint.

    The list leaves out the parameters that are read from a file:

    - parameters of CLIP towers, except learned prompts, if ``model.clip``
      chooses weights;
    - parameters of modules with ``init_cfg=dict(type='Pretrained', ...)``.

    Args:
        model (nn.Module): Any model; it may have a ``clip`` attribute.

    Returns:
        list[str]: Names of the parameters; empty if all parameters are read
        from files.
    """
    clip = getattr(model, 'clip', None) or {}
    has_clip = (
        clip.get('pretrained') is not None
        or clip.get('custom_clip_weights') is not None
        or is_source(clip.get('arch'))
    )
    filled: set[str] = set()
    for prefix, module in model.named_modules():
        names = [name for name, _ in module.named_parameters()]
        if isinstance(module, TOWERS) and has_clip:
            names = [name for name in names if not _is_prompt(name)]
        elif not _is_pretrained(getattr(module, 'init_cfg', None)):
            continue
        filled.update(f'{prefix}.{name}'.lstrip('.') for name in names)
    return [n for n, _ in model.named_parameters() if n not in filled]


def _is_pretrained(init_cfg: object) -> bool:
    rules = init_cfg if isinstance(init_cfg, list) else [init_cfg]
    return any(
        isinstance(rule, Mapping) and rule.get('type') == 'Pretrained'
        for rule in rules
    )


def _is_prompt(name: str) -> bool:
    """Whether the name of a tower's parameter belongs to a learned prompt."""
    return 'prompt' in name


def _load(tower: nn.Module, weights: dict[str, Tensor]) -> None:
    missing, unexpected = tower.load_state_dict(weights, strict=False)
    missing = [name for name in missing if not _is_prompt(name)]
    if missing or unexpected:
        warnings.warn(
            f'the CLIP weights do not fit {type(tower).__name__}: unknown '
            f'weights {unexpected}, missing weights {missing}; check arch and '
            'custom_clip_weights',
            stacklevel=2,
        )
