# SPDX-License-Identifier: Apache-2.0
import torch

from ovseg_mm.models.utils import fill_unknown
from ovseg_mm.vocabulary import UNKNOWN


def test_only_unknown_pixels_get_the_best_candidate():
    labels = torch.tensor([[[UNKNOWN, 0], [255, UNKNOWN]]])
    logits = torch.zeros(1, 4, 2, 2, requires_grad=True)
    with torch.no_grad():
        logits[0, 2] = 9  # the best of all, but seen
        logits[0, 1, 0, 0] = 1
        logits[0, 3, 1, 1] = 2
    filled = fill_unknown(labels, logits, (1, 3))
    assert filled.tolist() == [[[1, 0], [255, 3]]]
    assert not filled.requires_grad
    assert fill_unknown(labels, logits, ()) is labels
