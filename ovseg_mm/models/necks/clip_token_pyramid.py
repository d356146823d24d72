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
    """Makes CAT-Seg's guidance maps from the tokens of one CLIP tower.

    The patch tokens of two inner blocks are enlarged, each by its own
    transposed convolution, and guide the upsampling stages of the head. CLIP's
    patch embeddings are the appearance guidance.

    Args:
        in_channels (int): Width of the image tower.
        out_channels (Sequence[int]): Channels of the two enlarged maps, which
            have two and four times the size of the patch grid.
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
        """Compute the guidance maps.

        Args:
            feats (CLIPFeatures): Output of the image tower, whose ``layers``
                are tokens of two blocks.

        Returns:
            CostFeatures: Patch embeddings, which are also the appearance
            guidance; and two guidance maps for the upsampling, which are the
            enlarged patch tokens of the two blocks.
        """
        grid = feats.dense.shape[2:]
        guidance = tuple(
            upsample(tokens[:, 1:].transpose(1, 2).unflatten(2, grid))
            for upsample, tokens in zip(self.upsamples, feats.layers)
        )
        return CostFeatures(feats.dense, feats.dense, guidance)
