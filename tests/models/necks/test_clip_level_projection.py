# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from ovseg_mm.models import CLIPLevelProjection
from ovseg_mm.structures import CLIPFeatures


def feats(layers=2):
    return CLIPFeatures(
        torch.randn(2, 4, 3, 2),
        torch.randn(2, 4),
        tuple(torch.randn(2, 1 + 6, 8) for _ in range(layers)),
    )


def test_levels_are_normed_projected_and_of_length_one():
    neck, given = CLIPLevelProjection(8, 4, 2), feats()
    for norm in neck.norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    out = neck(given)
    for index, tokens in enumerate(given.layers):
        for patch in range(6):
            token = neck.norms[index](tokens[:, 1 + patch])
            token = token @ neck.projections[index]
            token = token / token.norm(dim=1, keepdim=True)
            row, column = divmod(patch, 2)
            torch.testing.assert_close(
                out.levels[index][:, :, row, column], token
            )
    dense = given.dense / given.dense.norm(dim=1, keepdim=True)
    torch.testing.assert_close(out.levels[2], dense)
    cls = given.cls / given.cls.norm(dim=1, keepdim=True)
    torch.testing.assert_close(out.cls, cls)


def test_nothing_is_trained():
    assert not any(
        p.requires_grad for p in CLIPLevelProjection(8, 4, 2).parameters()
    )


def test_wrong_number_of_levels():
    with pytest.raises(ValueError):
        CLIPLevelProjection(8, 4, 3)(feats(2))
