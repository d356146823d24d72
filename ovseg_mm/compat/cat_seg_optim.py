# SPDX-License-Identifier: Apache-2.0
"""Learning-rate factors under parameter names of the project CAT-Seg."""

import warnings

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ovseg_mm.checkpoints import unsharded_name
from ovseg_mm.checkpoints.layouts.cat_seg_v1 import project_name
from ovseg_mm.engine.distributed import unwrap
from ovseg_mm.models import GuidedCLIP


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(
    name='DefaultOptimWrapperConstructor'
)
class ProjectOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Optimizer constructor for configs of MMSegmentation's project CAT-Seg.

    The project has other parameter names than this package. For CAT-Seg v1,
    the keys of ``custom_keys`` are therefore matched with the names in the
    project. As in MMEngine, the longest matching key counts. A warning names
    keys without a match. Other models are treated as by MMEngine's
    ``DefaultOptimWrapperConstructor``.
    """

    paramwise_cfg: dict

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper.

        Args:
            model (nn.Module): Model, perhaps wrapped for distributed
                training.

        Returns:
            OptimWrapper: Optimizer wrapper for the parameters of the model.
        """
        keys = self.paramwise_cfg.get('custom_keys')
        backbone = getattr(unwrap(model), 'backbone', None)
        if not keys or not isinstance(backbone, GuidedCLIP):
            return super().__call__(model)
        plain = self.paramwise_cfg
        try:
            self.paramwise_cfg = dict(
                plain, custom_keys=_by_our_names(keys, unwrap(model))
            )
            return super().__call__(model)
        finally:
            self.paramwise_cfg = plain


def _by_our_names(keys: dict, model: nn.Module) -> dict:
    """Return ``custom_keys`` with the full parameter names of a model.

    Args:
        keys (dict): ``custom_keys`` for the names in the project CAT-Seg.
        model (nn.Module): Model of this package.

    Returns:
        dict: Options by full parameter name in the model, for the parameters
        that match a key.
    """
    ordered = sorted(sorted(keys), key=len, reverse=True)
    options, used = {}, set()
    for name, _ in model.named_parameters():
        theirs = project_name(unsharded_name(name))
        matching = [key for key in ordered if key in theirs]
        used.update(matching)
        if matching:
            options[name] = keys[matching[0]]
    unused = sorted(set(keys) - used)
    if unused:
        warnings.warn(
            f'paramwise_cfg.custom_keys has {unused}, which match no '
            "parameter of MMSegmentation's CAT-Seg and have no effect; use "
            'keys such as backbone.feature_extractor, backbone.clip_model, '
            'neck and decode_head',
            stacklevel=2,
        )
    return options
