# SPDX-License-Identifier: Apache-2.0
"""Pixel-adaptive refinement: maps follow the edges of the image.

Letters: C channels of the image, M maps, P neighbours of a pixel, H, W
pixels.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class PixelRefiner:
    """PAMR of one image.

    `Single-Stage Semantic Segmentation from Image Labels
    <https://arxiv.org/abs/2005.08104>`_. At every step the value of a pixel
    becomes a weighted mean of its neighbours; neighbours of a similar colour
    have the largest weights. Neighbours are the 8 surrounding pixels at each
    of several distances; the image is padded with copies of its edge.

    Args:
        img (Tensor): Image, (C, H, W), of any scale.
        steps (int): Number of steps, 0 or more.
        dilations (Sequence[int]): Distances of neighbours in pixels.
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
        """Refine maps independently of each other.

        Args:
            maps (Tensor): Maps to refine, (M, H, W) float32.

        Returns:
            Tensor: (M, H, W). Peak memory is three times its size.
        """
        for _ in range(self.steps):
            assert self.weights is not None, 'there are steps'
            refined = torch.zeros_like(maps)
            for weight, near in zip(self.weights, self._neighbours(maps)):
                refined.addcmul_(weight, near)
            maps = refined
        return maps

    def _weigh(self, img: Tensor) -> Tensor:
        """Weights of the neighbours of each pixel, (P, H, W)."""
        deviation = 1e-8 + 0.1 * self._deviation(img)
        logits = torch.stack(
            [
                ((img - near).abs() / deviation).mean(dim=0).neg_()
                for near in self._neighbours(img)
            ]
        )
        return logits.softmax(dim=0)

    def _deviation(self, img: Tensor) -> Tensor:
        """Standard deviation over each pixel and its neighbours, (C, H, W)."""
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
        """Views (M, H, W) of maps (M, H, W), shifted to each neighbour."""
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
