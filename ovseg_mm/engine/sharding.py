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
    """Whether a module is a transformer block of CLIP.

    As ``auto_wrap_policy``, the function makes FSDP shard each block
    separately. As ``check_fn`` of ``activation_checkpointing``, it makes FSDP
    recompute the activations of the blocks.

    Args:
        module (nn.Module): Part of the model.
        recurse (bool): True: FSDP asks whether to visit the children of
            ``module``, and the result is always True.
        nonwrapped_numel (int): Number of parameters of ``module``; unused.

    Returns:
        bool: True if ``recurse`` is True or ``module`` is a block of CLIP.
    """
    return recurse or isinstance(module, CLIPBlock)


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """FSDP strategy that can resume a training with PyTorch 2.1 or later.

    MMEngine's own strategy calls PyTorch with the order of arguments of
    PyTorch 2.0, which fails in later versions.
    """

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the state of the optimizer. Each rank keeps its own shard.

        Args:
            state_dict (dict): State of the optimizer for the whole model,
                without sharding.
        """
        optimizer = self.optim_wrapper.optimizer
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(
                model=self.model,
                optim=optimizer,
                optim_state_dict=state_dict,
            )
        )
