# SPDX-License-Identifier: Apache-2.0
"""CLIP's image tower and a second backbone for appearance guidance.

Letters: B images, H x W pixels, h x w patches of CLIP, C embedding width.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from ovseg_mm.structures import CostFeatures
from ovseg_mm.utils.clip_statistics import CLIP_MEAN, CLIP_STD
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.resize import resize

# Sides of the guidance maps as multiples of the patch grid, finest first.
SCALES = (4, 2, 1)


@MODELS.register_module()
class GuidedCLIP(BaseModule):
    """Dense CLIP embeddings and guidance maps of a second backbone.

    `CAT-Seg: Cost Aggregation for Open-Vocabulary Semantic Segmentation
    <https://arxiv.org/abs/2303.11797v1>`_, first version.

    This model normalises the image for each backbone with the statistics of
    the backbone. The data preprocessor must therefore not normalise. The
    default ``pad_val=0`` of the preprocessor pads images with black.

    Args:
        clip (dict): Config of the :class:`CLIPViT`.
        guidance (dict): Config of the second backbone, which must return three
            maps, at strides 4, 8 and 16. The maps are resized to 4, 2 and 1
            times the size of CLIP's patch grid.
        mean (Sequence[float]): CLIP's mean of R, G and B, in [0, 255].
        std (Sequence[float]): CLIP's standard deviation of R, G and B.
        guidance_mean (Sequence[float]): Mean of R, G and B for ``guidance``,
            in [0, 255].
        guidance_std (Sequence[float]): Standard deviation of R, G and B for
            ``guidance``.
        frozen (Sequence[str]): Parts of parameter names of ``guidance``.
            Parameters whose names contain one of them are not trained; ``''``
            freezes all parameters.
        init_cfg (dict, optional): MMEngine's initialisation.
    """

    # The segmentor raises if the data preprocessor normalises too.
    normalises = True

    clip_statistics: Tensor  # mean and deviation, (2, 3, 1, 1)
    guidance_statistics: Tensor  # (2, 3, 1, 1)

    def __init__(
        self,
        clip: dict,
        guidance: dict,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        guidance_mean: Sequence[float] = (123.675, 116.28, 103.53),
        guidance_std: Sequence[float] = (58.395, 57.12, 57.375),
        frozen: Sequence[str] = (),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        mean, std, guidance_mean, guidance_std = map(
            list, (mean, std, guidance_mean, guidance_std)
        )
        self.clip = MODELS.build(clip)
        self.guidance = MODELS.build(guidance)
        own, other = (mean, std), (guidance_mean, guidance_std)
        self.same_statistics = own == other
        for name, values in (('clip', own), ('guidance', other)):
            statistics = torch.tensor(values, dtype=torch.float32)
            self.register_buffer(
                f'{name}_statistics', statistics[..., None, None], False
            )
        for name, parameter in self.guidance.named_parameters():
            if any(part in name for part in frozen):
                parameter.requires_grad_(False)

    def forward(self, img: Tensor) -> CostFeatures:
        """Encode images.

        Args:
            img (Tensor): Images, RGB in [0, 255], not normalised, (B, 3, H,
                W).

        Returns:
            CostFeatures: CLIP's embeddings of the h x w patches, (B, C, h, w),
            and the three guidance maps.

        Raises:
            InputError: If the guidance backbone does not return three maps.
        """
        normalised = _normalise(img, self.clip_statistics)
        image = self.clip(normalised).dense
        if not self.same_statistics:
            normalised = _normalise(img, self.guidance_statistics)
        maps = self.guidance(normalised)
        if len(maps) != len(SCALES):
            raise InputError(
                f'the guidance backbone {type(self.guidance).__name__} gives '
                f'{len(maps)} maps; set its out_indices to the three stages '
                'with strides 4, 8 and 16'
            )
        height, width = image.shape[2:]
        fine, middle, coarse = (
            resize(part, (scale * height, scale * width))
            for part, scale in zip(maps, SCALES)
        )
        return CostFeatures(image, coarse, (middle, fine))


def _normalise(img: Tensor, statistics: Tensor) -> Tensor:
    mean, std = statistics
    return (img - mean).div_(std)
