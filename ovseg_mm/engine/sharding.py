# SPDX-License-Identifier: Apache-2.0
"""Sharded training (FSDP)."""

from mmengine._strategy import FSDPStrategy
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ovseg_mm.models.layers import CLIPBlock


@FUNCTIONS.register_module()
def is_clip_block(
    module: nn.Module, recurse: bool = False, nonwrapped_numel: int = 0
) -> bool:
    """Whether a module is a unit of sharding or activation checkpointing.

    Used as ``auto_wrap_policy`` of a sharding strategy and as ``check_fn`` of
    its activation checkpointing.

    Args:
        module (nn.Module): Part of the model.
        recurse (bool): Whether FSDP asks about the parts of ``module``.
        nonwrapped_numel (int): Number of parameters of ``module``; unused.

    Returns:
        bool: Whether ``module`` is a block of CLIP; always True with
        ``recurse``.
    """
    return recurse or isinstance(module, CLIPBlock)


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """MMEngine's FSDP strategy with a working resume.

    MMEngine passes the optimizer's states in the order of PyTorch 2.0 and
    before.
    """

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer's states, each rank its shard.

        Args:
            state_dict (dict): Optimizer's states of a full checkpoint.
        """
        optimizer = self.optim_wrapper.optimizer
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(
                model=self.model,
                optim=optimizer,
                optim_state_dict=state_dict,
            )
        )
