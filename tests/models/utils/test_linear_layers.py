# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ovseg_mm.models.utils import apply_linear, linear, linear_layers


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the inputs that the operator of oneDNN gets."""
    operator = linear_layers._operator()
    if operator is None:
        pytest.skip('needs PyTorch with oneDNN')
    shapes = []

    def counted(x, *args):
        shapes.append(tuple(x.shape))
        return operator(x, *args)

    monkeypatch.setattr(linear_layers, '_operator', lambda: counted)
    return shapes


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('shape', [(2, 130), (300,), (1, 10, 20)])
def test_equals_pytorch(calls, shape, bias):
    torch.manual_seed(0)
    layer = nn.Linear(256, 300, bias)
    # Not contiguous.
    x = torch.randn(*shape, 512)[..., ::2]
    with torch.no_grad():
        found = apply_linear(layer, x)
        torch.testing.assert_close(found, layer(x), rtol=1e-4, atol=1e-5)
    assert calls == [(*shape, 256)]


def test_small_products_and_gradients_are_left_to_pytorch(calls):
    weight = torch.randn(256, 256, requires_grad=True)
    x = torch.randn(200, 256)
    linear(x, weight).sum().backward()
    assert weight.grad is not None
    with torch.no_grad():
        for tokens, part in ((127, weight), (200, weight[:255])):
            expected = F.linear(x[:tokens], part)
            assert torch.equal(linear(x[:tokens], part), expected)
        with torch.autocast('cpu', torch.bfloat16):
            assert linear(x, weight).dtype == torch.bfloat16
        assert linear(x.double(), weight.double()).dtype == torch.double
    assert not calls


def test_other_layers_are_called(calls):
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    hooked, doubled = nn.Linear(256, 256), Doubled(256, 256)
    hooked.register_forward_hook(lambda _module, _args, output: output + 1)
    x = torch.randn(200, 256)
    with torch.no_grad():
        for layer in (hooked, doubled, nn.ReLU()):
            assert torch.equal(apply_linear(layer, x), layer(x))
    assert not calls
