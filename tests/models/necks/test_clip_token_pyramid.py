# SPDX-License-Identifier: Apache-2.0
import torch

from ovseg_mm.models import CLIPTokenPyramid
from ovseg_mm.structures import CLIPFeatures


def test_tapped_tokens_are_upsampled():
    neck = CLIPTokenPyramid(6, out_channels=(5, 3))
    dense = torch.randn(2, 4, 3, 2)
    layers = torch.randn(2, 1 + 6, 6), torch.randn(2, 1 + 6, 6)
    feats = neck(CLIPFeatures(dense, torch.randn(2, 4), layers))
    assert feats.image is dense and feats.appearance is dense
    for out, tokens, layer, factor in zip(
        feats.decoder, layers, neck.upsamples, (2, 4)
    ):
        # A patch of the result is one token times one weight.
        assert out.shape[2:] == (3 * factor, 2 * factor)
        for row, column in ((0, 1), (2, 0)):
            token = tokens[:, 1 + 2 * row + column]
            patch = torch.einsum('bi,iohw->bohw', token, layer.weight)
            patch = patch + layer.bias[:, None, None]
            rows = slice(row * factor, (row + 1) * factor)
            columns = slice(column * factor, (column + 1) * factor)
            torch.testing.assert_close(out[:, :, rows, columns], patch)
