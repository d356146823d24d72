# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import nn

from ovseg_mm.structures import CLIPFeatures, CostFeatures

# Side of each map as a multiple of the token grid, coarse to fine.
SCALE_FACTORS = (2, 4)


@MODELS.register_module()
class CLIPTokenPyramid(BaseModule):
    """Guidance maps of several scales from blocks of one CLIP tower.

    One transposed convolution per block resizes its patch tokens to their
    scale; the dense embeddings themselves are the appearance guidance.

    Args:
        in_channels (int): Width of the image tower.
        out_channels (Sequence[int]): Channels of the two maps, which have
            two and four times the size of the token grid.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: Sequence[int] = (256, 128),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.upsamples = nn.ModuleList(
            nn.ConvTranspose2d(in_channels, channels, factor, stride=factor)
            for channels, factor in zip(out_channels, SCALE_FACTORS)
        )

    def forward(self, feats: CLIPFeatures) -> CostFeatures:
        """Upsample the tapped blocks."""
        grid = feats.dense.shape[2:]
        guidance = tuple(
            upsample(tokens[:, 1:].transpose(1, 2).unflatten(2, grid))
            for upsample, tokens in zip(self.upsamples, feats.layers)
        )
        return CostFeatures(feats.dense, feats.dense, guidance)
