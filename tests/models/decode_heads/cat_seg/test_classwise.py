# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models.decode_heads.cat_seg import classwise
from ovseg_mm.models.decode_heads.cat_seg.classwise import (
    ClasswiseAggregation,
)
from ovseg_mm.models.utils import chunks

from . import naive


@pytest.fixture
def build(randomise):
    def build(attention='linear', pad_len=9, pooling=1, test_pooling=None):
        return randomise(
            ClasswiseAggregation(
                16, pad_len, 6, 2, attention, pooling, test_pooling
            )
        )

    return build


def expected_of(module, x, guidance):
    guidance = guidance.expand(len(x), -1, -1)
    return torch.stack(
        [naive.classwise(module, *pair) for pair in zip(x, guidance)]
    )


@pytest.mark.parametrize('attention', ['linear', 'full'])
@pytest.mark.parametrize(
    ('num_texts', 'pad_len'),
    [(4, 9), (1, 9), (8, 9), (9, 9), (4, None), (1, None), (12, None)],
)
def test_padding_tokens(build, assert_same, attention, num_texts, pad_len):
    module = build(attention, pad_len)
    x, guidance = torch.randn(2, num_texts, 3, 2, 16), torch.randn(1, 12, 6)
    guidance = guidance[:, :num_texts]
    assert_same(module(x, guidance), expected_of(module, x, guidance))


@pytest.mark.parametrize('attention', ['linear', 'full'])
def test_guidance_of_each_image(build, assert_same, attention):
    module = build(attention)
    x, guidance = torch.randn(3, 5, 2, 2, 16), torch.randn(3, 5, 6)
    assert_same(module(x, guidance), expected_of(module, x, guidance))


@pytest.mark.parametrize('grid', [(4, 4), (6, 3), (7, 5)])
@pytest.mark.parametrize('pooling', [2, 3])
def test_pooling(build, assert_same, grid, pooling):
    module = build(pooling=pooling)
    x, guidance = torch.randn(1, 4, *grid, 16), torch.randn(1, 4, 6)
    assert_same(module(x, guidance), expected_of(module, x, guidance))


def test_pooling_of_training_and_test(build, assert_same):
    module = build(pooling=2, test_pooling=1)
    x, guidance = torch.randn(1, 4, 4, 4, 16), torch.randn(1, 4, 6)
    results = []
    for mode in (True, False):
        module.train(mode)
        results.append(module(x, guidance))
        assert_same(results[-1], expected_of(module, x, guidance))
    assert not torch.allclose(*results, atol=1e-2)


@pytest.mark.parametrize('attention', ['linear', 'full'])
def test_gradients_of_padding(build, assert_same_gradients, attention):
    module = build(attention)
    x, guidance = torch.randn(1, 4, 2, 2, 16), torch.randn(1, 4, 6)
    weight = torch.randn(1, 4, 2, 2, 16)
    names = [name for name, _ in module.named_parameters()]
    ours, theirs = (
        torch.autograd.grad((out * weight).sum(), list(module.parameters()))
        for out in (
            module(x, guidance),
            expected_of(module, x, guidance),
        )
    )
    assert 'padding_token' in names and 'padding_guidance' in names
    assert_same_gradients(ours, theirs)


@pytest.mark.parametrize('attention', ['linear', 'full'])
def test_order_of_classes_does_not_matter(build, assert_same, attention):
    module = build(attention)
    x, guidance = torch.randn(1, 6, 2, 3, 16), torch.randn(1, 6, 6)
    order = torch.randperm(6)
    shuffled = module(x[:, order], guidance[:, order])
    assert_same(shuffled, module(x, guidance)[:, order])


@pytest.mark.parametrize('attention', ['linear', 'full'])
def test_chunks_equal_the_whole(build, assert_same, monkeypatch, attention):
    module = build(attention)
    x, guidance = torch.randn(2, 5, 3, 4, 16), torch.randn(1, 5, 6)
    whole = module(x, guidance)
    with torch.no_grad():
        for tokens in (1, 30, 70, 1000):
            monkeypatch.setitem(chunks.CHUNK_BYTES, 'cpu', tokens * 16 * 4)
            assert_same(module(x.clone(), guidance), whole, 1e-6)


def test_no_padding_parameters_without_padding(build):
    module = build(pad_len=None)
    assert not any('padding' in name for name, _ in module.named_parameters())


def test_unknown_attention(build):
    with pytest.raises(
        ValueError, match="attention='softmax' is not 'linear'"
    ):
        build('softmax')


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_linear_attention_does_not_overflow(dtype):
    """The sums over classes pass what half precision can hold."""
    q, k, v = (20 * torch.rand(1, 1, 2, 100, 16) for _ in range(3))
    args = 156, 20 * torch.rand(2, 1, 16), torch.rand(2, 1, 16)
    expected = classwise._linear_attention(q, k, v, *args)
    args = args[0], args[1].to(dtype), args[2].to(dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        actual = classwise._linear_attention(
            q.to(dtype), k.to(dtype), v.to(dtype), *args
        )
    error = (actual.float() - expected).norm() / expected.norm()
    assert error < 1e-2
