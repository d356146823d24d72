# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models.layers.clip_transformer import CLIPAttention


@pytest.mark.parametrize('count', [1, 2])
def test_first_tokens_alone(count):
    """Output and gradients are those of the attention of all tokens."""
    torch.manual_seed(0)
    attention = CLIPAttention(24, 3).double()
    torch.nn.init.normal_(attention.in_proj_bias)
    x = torch.randn(2, 7, 24, dtype=torch.double, requires_grad=True)
    inputs = x, *attention.parameters()
    expected = attention(x)[:, :count]
    found = attention(x, num_queries=count)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
