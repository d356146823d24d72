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

    FSDP shards these blocks one by one (``auto_wrap_policy``), and recomputes
    their activations (``check_fn`` of ``activation_checkpointing``).

    Args:
        module (nn.Module): Part of the model.
        recurse (bool): Whether FSDP asks if it shall visit the children of
            ``module``; the answer is always True.
        nonwrapped_numel (int): Number of parameters of ``module``; unused.

    Returns:
        bool: Whether ``module`` is a block of CLIP; True with ``recurse``.
    """
    return recurse or isinstance(module, CLIPBlock)


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """FSDP strategy that can resume a training with PyTorch 2.1 or later.

    MMEngine's own strategy calls PyTorch with the order of arguments of
    PyTorch 2.0, which fails in later versions.
    """

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the states of the optimizer; each rank keeps its shard.

        Args:
            state_dict (dict): States of the optimizer for the whole model.
        """
        optimizer = self.optim_wrapper.optimizer
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(
                model=self.model,
                optim=optimizer,
                optim_state_dict=state_dict,
            )
        )
