# SPDX-License-Identifier: Apache-2.0
"""Pixel-adaptive refinement: smooth maps, but not across colour edges.

Letters: C channels of the image, M maps, P neighbours of a pixel, H, W height
and width in pixels.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class PixelRefiner:
    """Pixel-adaptive mask refinement (PAMR) with the colours of one image.

    `Single-Stage Semantic Segmentation from Image Labels
    <https://arxiv.org/abs/2005.08104>`_. In each step, the value of a pixel
    becomes a weighted mean of its neighbours. Neighbours with a similar colour
    have large weights, so that maps stay sharp where the colour changes. A
    pixel has 8 neighbours at each distance. Beyond the border of the image,
    the nearest pixel of the image is used.

    Args:
        img (Tensor): Image, (C, H, W), with any range of values.
        steps (int): Number of steps. With 0, maps are not changed.
        dilations (Sequence[int]): Distances of the neighbours, in pixels.
    """

    def __init__(
        self,
        img: Tensor,
        steps: int = 10,
        dilations: Sequence[int] = (8, 16),
    ) -> None:
        self.steps = steps
        self.dilations = tuple(dilations)
        self.weights = self._weigh(img.float()) if steps else None

    def __call__(self, maps: Tensor) -> Tensor:
        """Refine each map.

        Args:
            maps (Tensor): M maps to refine, (M, H, W) float32.

        Returns:
            Tensor: Refined maps, (M, H, W).
        """
        for _ in range(self.steps):
            assert self.weights is not None, 'there are steps'
            refined = torch.zeros_like(maps)
            for weight, near in zip(self.weights, self._neighbours(maps)):
                refined.addcmul_(weight, near)
            maps = refined
        return maps

    def _weigh(self, img: Tensor) -> Tensor:
        """Weights of the P neighbours of each pixel, (P, H, W).

        The weights of a pixel sum to 1.
        """
        deviation = 1e-8 + 0.1 * self._deviation(img)
        logits = torch.stack(
            [
                ((img - near).abs() / deviation).mean(dim=0).neg_()
                for near in self._neighbours(img)
            ]
        )
        return logits.softmax(dim=0)

    def _deviation(self, img: Tensor) -> Tensor:
        """Standard deviation over a pixel and its neighbours, (C, H, W)."""
        repeats = len(self.dilations)
        total = repeats * img
        for near in self._neighbours(img):
            total = total + near
        mean = total / (9 * repeats)
        squares = repeats * (img - mean).square()
        for near in self._neighbours(img):
            squares = squares + (near - mean).square()
        return (squares / (9 * repeats - 1)).sqrt()

    def _neighbours(self, x: Tensor) -> Iterator[Tensor]:
        """Yield the maps, (M, H, W), shifted to each of the P neighbours."""
        height, width = x.shape[1:]
        for distance in self.dilations:
            padded = F.pad(x[None], (distance,) * 4, mode='replicate')[0]
            shifts = (0, distance, 2 * distance)
            for top in shifts:
                for left in shifts:
                    if top != distance or left != distance:
                        yield padded[
                            :, top : top + height, left : left + width
                        ]
