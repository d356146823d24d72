# SPDX-License-Identifier: Apache-2.0
"""Learning-rate factors by the names of MMSegmentation's project CAT-Seg."""

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
    """MMEngine's constructor for the parameter names of the CAT-Seg project.

    In MMSegmentation's project CAT-Seg, the parameters of CAT-Seg v1 have
    other names. The keys of ``custom_keys`` are searched in these names; the
    longest matching key counts, as in MMEngine. Keys that match no name have
    no effect; a warning names them. For other models this is MMEngine's
    constructor.
    """

    paramwise_cfg: dict

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper.

        Args:
            model (nn.Module): Model, distributed or not.

        Returns:
            OptimWrapper: The optimizer wrapper.
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
    """Options of each parameter that has options, by its full name."""
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
            f'paramwise_cfg.custom_keys names {unused}, but no parameter of '
            "MMSegmentation's CAT-Seg has that in its name (they begin with "
            'backbone.feature_extractor, backbone.clip_model, neck and '
            'decode_head): it has no effect',
            stacklevel=2,
        )
    return options
