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
    """Brings tokens of inner blocks of CLIP into its embedding space.

    Every tapped block has its own norm and projection; the last level is
    CLIP's output. Norms and projections stay random, since the decoders behind
    them and the prompts before them are trained. A checkpoint must contain
    them.

    Args:
        in_channels (int): Width D of the image tower.
        out_channels (int): Width C of the embeddings.
        num_levels (int): Number of blocks whose tokens are used.
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
        """Project and normalise all levels.

        Args:
            feats (CLIPFeatures): With ``num_levels`` layers.

        Returns:
            LevelFeatures: ``num_levels + 1`` levels, the deepest last.
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
    """Normalise to length 1 along the second axis."""
    return F.normalize(x, dim=1)
