# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models.decode_heads.cat_seg.spatial import (
    SpatialAggregation,
    WindowBlock,
    guided_qkv,
    window_mask,
)
from ovseg_mm.models.utils import chunks

from . import naive

GRIDS = [(8, 8), (4, 4), (3, 2), (12, 8), (6, 10), (3, 9), (5, 5), (1, 7)]


@pytest.fixture
def aggregation(randomise):
    return randomise(SpatialAggregation(16, 6, 2, 4, 4))


@pytest.mark.parametrize('mask_padding', [True, False])
@pytest.mark.parametrize('grid', GRIDS)
def test_windows_of_any_grid(aggregation, assert_same, grid, mask_padding):
    for block in aggregation.blocks:
        block.mask_padding = mask_padding
    x = torch.randn(2, 3, *grid, 16)
    guidance = torch.randn(2, *grid, 6)
    expected = torch.stack(
        [
            torch.stack([naive.spatial(aggregation, t, g) for t in image])
            for image, g in zip(x, guidance)
        ]
    )
    assert_same(aggregation(x, guidance), expected)


@pytest.mark.parametrize(('window', 'shift'), [(4, 2), (5, 2), (3, 1), (4, 0)])
@pytest.mark.parametrize('grid', [(9, 11), (10, 4)])
@pytest.mark.parametrize('mask_padding', [True, False])
def test_odd_windows(
    randomise, assert_same, window, shift, grid, mask_padding
):
    block = WindowBlock(16, 6, 2, window, shift, 2, mask_padding)
    randomise(block)
    x, guidance = torch.randn(1, 1, *grid, 16), torch.randn(1, *grid, 6)
    expected = naive.window_block(block, x[0, 0], guidance[0])
    assert_same(block(x, *block.prepare(guidance))[0, 0], expected)


def test_mask_of_the_published_model():
    """24 x 24 tokens in 12 x 12 windows, rolled by 6."""
    region = torch.zeros(24, 24, dtype=torch.long)
    slices = slice(0, 12), slice(12, 18), slice(18, 24)
    for number, (rows, columns) in enumerate(
        (rows, columns) for rows in slices for columns in slices
    ):
        region[rows, columns] = number
    windows = [
        region[top : top + 12, left : left + 12].flatten()
        for top in (0, 12)
        for left in (0, 12)
    ]
    expected = torch.stack(
        [
            torch.where(w[:, None] == w[None], torch.zeros(()), -100.0)
            for w in windows
        ]
    )
    assert torch.equal(window_mask((24, 24), (12, 12), 6), expected)
    assert window_mask((24, 24), (12, 12), 0) is None


@pytest.mark.parametrize('window', [12, 7, 10, 16, 24, 32])
def test_windows_of_mmsegmentation(randomise, assert_same, window):
    """Its own attention, where guidance cannot tell tokens apart."""
    from mmseg.models.backbones.swin import ShiftWindowMSA

    shift = window // 2
    block = randomise(WindowBlock(16, 6, 2, window, shift, 2, False))
    stock = ShiftWindowMSA(16, 2, window, shift)
    attn, theirs = block.attn, stock.w_msa
    torch.nn.init.zeros_(theirs.relative_position_bias_table)
    layers = attn.q, attn.k, attn.v
    for kind in ('weight', 'bias'):
        parts = [getattr(layer, kind) for layer in layers]
        if kind == 'weight':
            parts = [part[:, :16] for part in parts]
        getattr(theirs.qkv, kind).data = torch.cat(parts).detach()
    theirs.proj = attn.proj
    x, guidance = torch.randn(1, 1, 24, 24, 16), torch.zeros(1, 24, 24, 6)
    tokens = block.norm1(x).flatten(0, 1).flatten(1, 2)
    expected = x + stock(tokens, (24, 24)).view_as(x)
    expected = expected + block.mlp(block.norm2(expected))
    assert_same(block(x, *block.prepare(guidance)), expected)


def test_chunks_equal_the_whole(aggregation, monkeypatch, assert_same):
    x, guidance = torch.randn(2, 7, 6, 8, 16), torch.randn(2, 6, 8, 6)
    whole = aggregation(x, guidance)
    with torch.no_grad():
        for maps in (1, 4, 6, 100):
            monkeypatch.setitem(
                chunks.CHUNK_BYTES, 'cpu', maps * x[0, 0].numel() * 4
            )
            assert_same(aggregation(x.clone(), guidance), whole, 1e-6)


def test_chunks_bound_the_bytes(monkeypatch):
    monkeypatch.setitem(chunks.CHUNK_BYTES, 'cpu', 75)
    sizes = []

    def function(part):
        sizes.append(part.shape[1])
        return 2 * part

    x = torch.randn(2, 8, 3, requires_grad=True)
    with torch.no_grad():
        assert torch.equal(chunks.apply_to_chunks(function, x), 2 * x)
    assert sizes == [3, 3, 2]
    out = chunks.apply_to_chunks(function, x, overwrite=True)
    assert sizes == [3, 3, 2] + [3, 2, 2, 1]
    out.sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 2))
    with torch.no_grad():
        again = chunks.apply_to_chunks(function, x, overwrite=True)
    assert again is x
    assert torch.equal(x, out)


def test_queries_and_keys_are_of_the_concatenation(assert_same):
    q, k = torch.nn.Linear(5 + 3, 5), torch.nn.Linear(5 + 3, 5)
    v = torch.nn.Linear(5, 5)
    x, guidance = torch.randn(2, 6, 7, 5), torch.randn(2, 1, 7, 3)
    both = torch.cat([x, guidance.expand(-1, 6, -1, -1)], dim=-1)
    expected = torch.cat([q(both), k(both), v(x)], dim=-1)
    assert_same(guided_qkv(q, k, v, guidance)(x), expected)


def test_training_after_a_prediction_in_inference_mode(aggregation):
    """The mask is kept between calls and must suit both."""
    x, guidance = torch.randn(1, 2, 5, 6, 16), torch.randn(1, 5, 6, 6)
    window_mask.cache_clear()
    with torch.inference_mode():
        aggregation(x, guidance)
    aggregation(x, guidance).sum().backward()
    assert all(p.grad is not None for p in aggregation.parameters())


@pytest.mark.parametrize('dtype', [torch.bfloat16])
def test_autocast(aggregation, dtype):
    x, guidance = torch.randn(1, 2, 5, 6, 16), torch.randn(1, 5, 6, 6)
    expected = aggregation(x, guidance)
    with torch.autocast('cpu', dtype=dtype):
        actual = aggregation(x, guidance)
    error = (actual.float() - expected).norm() / expected.norm()
    assert error < 2e-2
    actual.float().sum().backward()
