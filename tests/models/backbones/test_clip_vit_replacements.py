# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models import CLIPViT


@pytest.fixture
def build(tiny_arch):
    def build(**options):
        torch.manual_seed(0)
        return CLIPViT(tiny_arch, out_indices=(0, 1, 2), **options).eval()

    return build


def choice(*patches):
    where = torch.zeros(2, 16, dtype=torch.bool)
    where[1, list(patches)] = True
    return where


@pytest.mark.parametrize('prompts', [0, 2])
def test_tokens_are_replaced_behind_their_block(build, prompts):
    tower = build(prompts=dict(depth=prompts, length=3))
    img, token = torch.randn(2, 3, 32, 32), torch.randn(1, 32)
    plain = tower(img)
    found = tower(img, {1: (choice(0, 5), token)})
    assert torch.equal(found.layers[0], plain.layers[0])
    assert torch.equal(found.layers[1][0], plain.layers[1][0])
    # The class token comes first.
    expected = plain.layers[1][1].clone()
    expected[[1, 6]] = token
    torch.testing.assert_close(found.layers[1][1], expected)
    assert not torch.allclose(found.cls[1], plain.cls[1], atol=1e-3)
    torch.testing.assert_close(found.cls[0], plain.cls[0])


def test_replaced_tokens_get_no_gradient(build):
    tower = build()
    img = torch.randn(2, 3, 32, 32, requires_grad=True)
    token = torch.zeros(1, 32)
    everything = torch.ones(2, 16, dtype=torch.bool)
    found = tower(img, {0: (everything, token)})
    found.dense.sum().backward()
    # The class token alone still carries the image on.
    assert img.grad.abs().sum() > 0
    x = found.layers[0]
    assert not x[:, 1:].any() and x[:, 0].any()
