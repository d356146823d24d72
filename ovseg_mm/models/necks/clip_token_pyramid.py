# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import nn

from ovseg_mm.structures import CLIPFeatures, CostFeatures

# Side of each map in token grids, coarse to fine.
SCALE_FACTORS = (2, 4)


@MODELS.register_module()
class CLIPTokenPyramid(BaseModule):
    """Guidance maps of several scales from blocks of one CLIP tower.

    Every tapped block's patch tokens are brought to their scale by one
    transposed convolution; the dense embeddings themselves are the
    appearance guidance.

    Args:
        in_channels (int): Width of the image tower.
        out_channels (Sequence[int]): Channels of the two maps, of twice and
            four times the token grid.
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
