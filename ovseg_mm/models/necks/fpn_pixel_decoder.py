# SPDX-License-Identifier: Apache-2.0
"""MaskFormer's pixel decoder.

Letters: B images, C channels, h x w positions at stride 4.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from ovseg_mm.structures import PixelFeatures


@MODELS.register_module()
class FPNPixelDecoder(BaseModule):
    """Pixel decoder of MaskFormer, a feature pyramid.

    From coarse to fine, the current map is enlarged by nearest-neighbour
    interpolation, added to a 1x1 convolution of the next finer backbone map,
    and smoothed by a 3x3 convolution. The coarsest backbone map is also
    returned, without change: the decoder's queries attend to it.

    Args:
        in_channels (Sequence[int]): Channels of the backbone's maps, finest
            (stride 4) first.
        embed_dims (int): Channels inside the pyramid.
        mask_channels (int): Channels C of the mask features.
        norm_cfg (dict): Config of the norm after each convolution except the
            last. None: GroupNorm with 32 groups.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        embed_dims: int = 256,
        mask_channels: int = 256,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = norm_cfg or dict(type='GN', num_groups=32)
        *finer, coarsest = in_channels
        # Plain lists, so that MMEngine does not initialise their parts.
        self.laterals = nn.ModuleList(
            ConvModule(c, embed_dims, 1, norm_cfg=norm_cfg, act_cfg=None)
            for c in finer
        )
        self.outputs = nn.ModuleList(
            ConvModule(c, embed_dims, 3, padding=1, norm_cfg=norm_cfg)
            for c in (*[embed_dims] * len(finer), coarsest)
        )
        self.mask_features = nn.Conv2d(embed_dims, mask_channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
        assert self.mask_features.bias is not None, 'bias=True'
        nn.init.zeros_(self.mask_features.bias)

    def forward(self, feats: Sequence[Tensor]) -> PixelFeatures:
        """Compute mask features.

        Args:
            feats (Sequence[Tensor]): Maps of the backbone, finest first.

        Returns:
            PixelFeatures: Mask features (B, C, h, w), and the coarsest map of
            the backbone.
        """
        *finer, coarsest = feats
        x = self.outputs[-1](coarsest)
        for index in reversed(range(len(finer))):
            lateral = self.laterals[index](finer[index])
            x = F.interpolate(x, lateral.shape[2:], mode='nearest')
            x = self.outputs[index](lateral + x)
        return PixelFeatures(self.mask_features(x), (coarsest,))
