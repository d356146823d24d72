# SPDX-License-Identifier: Apache-2.0

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.inference import in_float32
from ovseg_mm.structures import CLIPFeatures, LevelFeatures


@MODELS.register_module()
class CLIPLevelProjection(BaseModule):
    """Projects patch tokens of inner CLIP blocks to the embedding width.

    Each block has its own LayerNorm and projection. Their weights are random
    and not trained, but checkpoints contain them.

    Args:
        in_channels (int): Width of the image tower.
        out_channels (int): Width of CLIP's embeddings.
        num_levels (int): Number of inner blocks whose tokens are used.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_levels: int,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.norms = nn.ModuleList(
            nn.LayerNorm(in_channels) for _ in range(num_levels)
        )
        self.projections = nn.Parameter(
            torch.randn(num_levels, in_channels, out_channels)
            * in_channels**-0.5
        )
        self.requires_grad_(False)

    def forward(self, feats: CLIPFeatures) -> LevelFeatures:
        """Project the patch tokens and normalise them to length 1.

        Args:
            feats (CLIPFeatures): Output of the image tower, whose ``layers``
                are tokens of ``num_levels`` blocks.

        Returns:
            LevelFeatures: Patch embeddings of the ``num_levels`` blocks,
            followed by CLIP's own patch embeddings; and the class embedding.
        """
        grid = feats.dense.shape[2:]
        levels = [
            (norm(tokens[:, 1:]) @ projection)
            .transpose(1, 2)
            .unflatten(2, grid)
            for tokens, norm, projection in zip(
                feats.layers, self.norms, self.projections, strict=True
            )
        ]
        return LevelFeatures(
            tuple(_unit(x) for x in (*levels, feats.dense)),
            _unit(feats.cls),
        )


@in_float32
def _unit(x: Tensor) -> Tensor:
    """Normalise x (B, C, ...) to length 1 along C."""
    return F.normalize(x, dim=1)
