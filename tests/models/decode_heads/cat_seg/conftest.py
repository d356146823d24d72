# SPDX-License-Identifier: Apache-2.0
import pytest
from torch import nn


@pytest.fixture
def randomise():
    """Function that gives every parameter of a module a random value.

    Norms, biases and padding start as ones and zeros, which would hide
    faults.
    """

    def fill(module: nn.Module) -> nn.Module:
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                nn.init.normal_(parameter, std=fan_in**-0.5)
            else:
                nn.init.normal_(parameter, std=0.3)
                if 'norm' in name and name.endswith('weight'):
                    parameter.data += 1
        return module

    return fill


@pytest.fixture
def assert_same():
    """Function that compares tensors by their relative distance."""

    def compare(actual, expected, tolerance=1e-5):
        assert actual.shape == expected.shape
        error = (actual - expected).norm() / expected.norm()
        assert error < tolerance, float(error)

    return compare


@pytest.fixture
def assert_same_gradients():
    """Function that compares lists of gradients.

    A key's bias has the gradient 0 behind a softmax, and rounding noise in
    its place; so a little of the largest gradient is allowed everywhere.
    """

    def compare(ours, theirs):
        noise = 1e-6 * max(gradient.norm() for gradient in theirs)
        for actual, expected in zip(ours, theirs, strict=True):
            assert actual.shape == expected.shape
            error = (actual - expected).norm()
            assert error < 1e-4 * expected.norm() + noise, float(error)
            assert actual.abs().sum() > 0

    return compare
