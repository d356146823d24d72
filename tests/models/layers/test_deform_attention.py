# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from ovseg_mm.models.layers import MultiScaleDeformAttention
from ovseg_mm.models.layers.deform_attention import (
    _compiled_operator,
    sample_levels,
    sample_rows,
)
from ovseg_mm.models.utils import chunks

SIZES = [(2, 3), (4, 5)]


@pytest.fixture
def samples():
    torch.manual_seed(0)
    values = torch.randn(2, 6 + 20, 3, 4)
    # Some points lie outside of the maps.
    points = torch.rand(2, 7, 3, 2, 4, 2) * 1.4 - 0.2
    weights = torch.rand(2, 7, 3, 2, 4)
    return values, points, weights


def bilinear(image, x, y):
    """Value at a point of a map (h, w, c), whose cells are unit squares."""
    height, width, _ = image.shape
    result = torch.zeros(image.shape[2])
    left, top = math.floor(x - 0.5), math.floor(y - 0.5)
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                share = 1 - abs(x - 0.5 - column)
                share *= 1 - abs(y - 0.5 - row)
                result += share * image[row, column]
    return result


def test_samples_by_the_definition(samples):
    values, points, weights = samples
    found = sample_levels(values, points, weights, SIZES)
    assert found.shape == (2, 7, 12)
    maps = [
        part.unflatten(1, size)
        for part, size in zip(values.split([6, 20], dim=1), SIZES)
    ]
    for image, query, head in ((0, 0, 0), (1, 3, 2), (0, 6, 1)):
        expected = torch.zeros(4)
        for level, (height, width) in enumerate(SIZES):
            for number in range(4):
                index = image, query, head, level, number
                x, y = points[index].tolist()
                value = bilinear(
                    maps[level][image, :, :, head], x * width, y * height
                )
                expected += weights[index] * value
        torch.testing.assert_close(
            found[image, query].unflatten(0, (3, 4))[head],
            expected,
            rtol=1e-4,
            atol=1e-5,
        )


@pytest.mark.parametrize('spread', [1.0, 1e4])
def test_rows_give_the_same_samples(samples, spread):
    """Also for points on the borders of cells and far outside."""
    values, points, weights = samples
    points = (points - 0.5) * spread + 0.5
    points[:, :2] = torch.tensor([0.0, 1.0])
    points[:, 2, 0] = torch.tensor([-1 / 6, 1 + 1 / 10])
    expected = sample_levels(values, points, weights, SIZES)
    with torch.no_grad():
        found = sample_rows(values, points, weights, SIZES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_same_output_with_and_without_gradients(monkeypatch):
    attention = MultiScaleDeformAttention(32, 4, 2, 3)
    torch.nn.init.normal_(attention.sampling_offsets.weight)
    torch.nn.init.normal_(attention.attention_weights.weight)
    inputs = torch.randn(2, 26, 32), torch.randn(2, 26, 32), torch.rand(26, 2)
    expected = attention(*inputs, SIZES)
    # A few queries at a time.
    monkeypatch.setattr(chunks, 'CHUNK_BYTES', dict(cpu=1 << 11))
    with torch.no_grad():
        found = attention(*inputs, SIZES)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_compiled_operator_agrees(samples):
    operator = _compiled_operator()
    if operator is None:
        pytest.skip('needs MMCV with compiled operators')
    samples = [part.cuda() for part in samples]
    torch.testing.assert_close(
        operator(*samples, SIZES),
        sample_levels(*samples, SIZES),
        rtol=1e-4,
        atol=1e-4,
    )


def test_mmcvs_module_agrees():
    """Their pure path on CPUs; it is there wherever MMCV was built."""
    ops = pytest.importorskip(
        'mmcv.ops.multi_scale_deform_attn',
        reason='needs MMCV with compiled operators',
        exc_type=ImportError,
    )
    torch.manual_seed(0)
    ours = MultiScaleDeformAttention(16, 4, 2, 3)
    theirs = ops.MultiScaleDeformableAttention(
        16, 4, 2, 3, dropout=0.0, batch_first=True
    )
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.load_state_dict(ours.state_dict())
    query, value = torch.randn(2, 7, 16), torch.randn(2, 26, 16)
    reference = torch.rand(7, 2)
    expected = theirs(
        query,
        value=value,
        identity=torch.zeros_like(query),
        reference_points=reference[None, :, None].expand(2, -1, 2, -1),
        spatial_shapes=torch.tensor(SIZES),
        level_start_index=torch.tensor([0, 6]),
    )
    torch.testing.assert_close(
        ours(query, value, reference, SIZES), expected, rtol=1e-4, atol=1e-5
    )


def test_heads_look_in_directions_at_first():
    attention = MultiScaleDeformAttention(16, 8, 2, 3)
    offsets = attention.sampling_offsets.bias.unflatten(0, (8, 2, 3, 2))
    assert torch.equal(offsets[:, 0], offsets[:, 1])
    steps = offsets[:, 0].abs().amax(dim=2)
    torch.testing.assert_close(steps, torch.tensor([[1.0, 2, 3]]).expand(8, 3))
    torch.testing.assert_close(offsets[1, 0, 1], torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(offsets[2, 0, 2], torch.tensor([0.0, 3.0]))
    assert not attention.sampling_offsets.weight.any()


def test_offsets_are_in_pixels():
    """One pixel to the right of a cell's centre is the next centre."""
    attention = MultiScaleDeformAttention(4, 1, 1, 1)
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(torch.tensor([1.0, 0.0]))
        for layer in (attention.value_proj, attention.output_proj):
            layer.weight.copy_(torch.eye(4))
    value = torch.randn(1, 6, 4)
    centre = torch.tensor([[0.5 / 3, 0.5 / 2]])
    found = attention(torch.randn(1, 1, 4), value, centre, [(2, 3)])
    torch.testing.assert_close(found[0, 0], value[0, 1])


def test_heads_must_divide():
    with pytest.raises(ValueError, match='not divisible by num_heads=3'):
        MultiScaleDeformAttention(16, 3)
