# SPDX-License-Identifier: Apache-2.0
from typing import NamedTuple

from torch import Tensor


class CostFeatures(NamedTuple):
    """What a cost-aggregation head takes.

    Attributes:
        image (Tensor): Dense image embeddings, (B, C, h, w).
        appearance (Tensor): Guidance at the same grid, (B, A, h, w).
        decoder (tuple[Tensor]): Guidance of the upsampling stages, the i-th
            at 2**(i + 1) times the grid.
    """

    image: Tensor
    appearance: Tensor
    decoder: tuple[Tensor, ...]
