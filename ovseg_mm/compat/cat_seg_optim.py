# SPDX-License-Identifier: Apache-2.0
"""Learning-rate factors for configs of MMSegmentation's project CAT-Seg.

In these configs, the factors are listed under parameter names of the project,
which are different from the names in this package.
"""

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

    In the project, parameters have other names than in this package. For
    CAT-Seg v1, the keys of ``custom_keys`` are therefore compared with the
    project's names. As in MMEngine, the longest matching key is used. A
    warning lists the keys that match no parameter. For other models, the
    class works like MMEngine's ``DefaultOptimWrapperConstructor``.
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
    """Replace the keys of ``custom_keys`` by parameter names of a model.

    Args:
        keys (dict): ``custom_keys`` of a config. A key is a part of a
            parameter name in the project CAT-Seg.
        model (nn.Module): Model of this package.

    Returns:
        dict: Options by full parameter name in ``model``. Parameters that
        match no key are left out.
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
