# SPDX-License-Identifier: Apache-2.0
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import nn

from ovseg_mm.checkpoints import unsharded_name
from ovseg_mm.utils.errors import InputError

from .distributed import unwrap

NO_DECAY_MODULES = (nn.LayerNorm, nn.GroupNorm, nn.Embedding)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OpenVocabOptimWrapperConstructor:
    """Builds an optimizer wrapper for the trainable parameters of a model.

    MMEngine's own constructor also passes frozen parameters to the optimizer.
    If a module has a learning-rate factor, MMEngine's constructor applies
    weight decay to its normalization layers even with ``norm_decay_mult=0``.

    Args:
        optim_wrapper_cfg (dict): Config of the wrapper with ``optimizer``.
        paramwise_cfg (dict, optional): Dict with three optional keys.
            ``lr_mult`` (dict): factors of the learning rate by prefix of
            parameter names, such as ``dict(backbone=0.01)``. A prefix is one
            or more whole parts of a dotted name. If several prefixes match a
            name, the longest one is used.
            ``norm_decay`` (bool, default False): whether layer norms, group
            norms and embeddings have weight decay.
            ``no_decay`` (Sequence[str]): strings. A parameter has no weight
            decay if its name contains one of them.

    Raises:
        InputError: If a prefix in ``lr_mult`` matches no parameter, if no
            parameter is trainable, or if ``paramwise_cfg`` has an unknown
            key.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        paramwise_cfg = dict(paramwise_cfg or {})
        self.lr_mult = paramwise_cfg.pop('lr_mult', {})
        self.norm_decay = paramwise_cfg.pop('norm_decay', False)
        self.no_decay = tuple(paramwise_cfg.pop('no_decay', ()))
        if paramwise_cfg:
            raise InputError(
                f'paramwise_cfg has unknown keys: {sorted(paramwise_cfg)}; '
                "use only 'lr_mult', 'norm_decay' and 'no_decay'"
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper.

        Args:
            model (nn.Module): Model to train. It may be wrapped in DDP.

        Returns:
            OptimWrapper: Wrapper with an optimizer of the trainable
            parameters.
        """
        model = unwrap(model)
        cfg = dict(self.optim_wrapper_cfg)
        cfg.setdefault('type', 'OptimWrapper')
        optimizer = dict(cfg.pop('optimizer'))
        optimizer['params'] = self._param_groups(model, optimizer['lr'])
        optimizer = OPTIMIZERS.build(optimizer)
        return OPTIM_WRAPPERS.build(
            cfg, default_args=dict(optimizer=optimizer)
        )

    def _param_groups(self, model: nn.Module, base_lr: float) -> list[dict]:
        no_decay = {
            id(parameter)
            for module in model.modules()
            if isinstance(module, NO_DECAY_MODULES) and not self.norm_decay
            for parameter in module.parameters(recurse=False)
        }
        groups: dict[tuple[float, bool], list] = {}
        used = set()
        for name, parameter in model.named_parameters():
            name = unsharded_name(name)
            prefix = self._prefix(name)
            used.add(prefix)
            if not parameter.requires_grad:
                continue
            factor = self.lr_mult.get(prefix, 1.0)
            named = any(part in name for part in self.no_decay)
            key = factor, named or id(parameter) in no_decay
            groups.setdefault(key, []).append(parameter)
        unused = set(self.lr_mult) - used
        if unused:
            raise InputError(
                f'paramwise_cfg.lr_mult names {sorted(unused)}, but no '
                'parameter has such a prefix; use prefixes of parameter names '
                "such as 'backbone'"
            )
        if not groups:
            raise InputError(
                f'every parameter of {type(model).__name__} is frozen, so '
                'there is nothing to train; set model.clip.finetune to the '
                "part of CLIP to train, such as 'attention'"
            )
        return [
            dict(
                params=params,
                lr=base_lr * factor,
                **(dict(weight_decay=0.0) if plain else {}),
            )
            for (factor, plain), params in groups.items()
        ]

    def _prefix(self, name: str) -> str | None:
        fitting = [p for p in self.lr_mult if f'{name}.'.startswith(f'{p}.')]
        return max(fitting, key=len, default=None)
