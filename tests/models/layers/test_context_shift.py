# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models.layers import ContextShift
from ovseg_mm.models.layers.context_shift import smallest_share

TOKENS = {block: torch.full((1, 4), float(block)) for block in range(5)}


@pytest.fixture
def foreground():
    """Regions with 0, 1, 20 and all 40 patches of background."""
    rows = torch.ones(4, 40, dtype=torch.bool)
    rows[1, 7] = False
    rows[2, ::2] = False
    rows[3] = False
    return rows


@pytest.mark.parametrize('ratio', [0.0, 0.15, 0.5, 1.0])
def test_a_share_of_the_background(foreground, ratio):
    shift = ContextShift((0, 3), ratio)
    replaced = shift(foreground, TOKENS)
    assert list(replaced) == [0, 3]
    for block, (where, token) in replaced.items():
        assert where.sum(dim=1).tolist() == [
            int(ratio * count) for count in (0, 1, 20, 40)
        ]
        assert not (where & foreground).any()
        assert token is TOKENS[block]


def test_choice_repeats_and_is_a_new_one_in_each_block(foreground):
    shift = ContextShift((0, 3), 0.5, seed=5)
    first, again = shift(foreground, TOKENS), shift(foreground, TOKENS)
    for block in (0, 3):
        assert torch.equal(first[block][0], again[block][0])
    assert not torch.equal(first[0][0], first[3][0])
    other = ContextShift((0, 3), 0.5, seed=6)(foreground, TOKENS)
    assert not torch.equal(first[0][0], other[0][0])


def test_training_draws_from_the_global_generator(foreground):
    shift = ContextShift((0,), 0.5)
    torch.manual_seed(0)
    first = shift(foreground, TOKENS, training=True)[0][0]
    second = shift(foreground, TOKENS, training=True)[0][0]
    torch.manual_seed(0)
    again = shift(foreground, TOKENS, training=True)[0][0]
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_evaluation_leaves_the_global_generator_alone(foreground):
    state = torch.get_rng_state()
    ContextShift((0,), 0.5)(foreground, TOKENS)
    assert torch.equal(state, torch.get_rng_state())


def test_all_choices_are_equally_likely():
    shift = ContextShift(range(5), 0.25)
    tokens = {block: TOKENS[block] for block in range(5)}
    background = torch.zeros(400, 8, dtype=torch.bool)
    counts = sum(w.sum(dim=0) for w, _ in shift(background, tokens).values())
    assert counts.sum() == 5 * 400 * 2
    assert counts.min() > 430 and counts.max() < 570


def test_choice_from_outside(foreground):
    shift = ContextShift((1,), 0.5)
    noise = torch.ones(1, 4, 40)
    noise[0, 2, 20:] = 0.0
    shift.rand = lambda shape: noise.view(shape)
    (where, _) = shift(foreground, TOKENS)[1]
    assert where[2].nonzero().flatten().tolist() == list(range(20, 40, 2))


def test_share_is_rounded_down_as_python_does():
    for count in range(1, 60):
        for ratio in (0.05, 0.1, 0.15, 0.3):
            among = torch.ones(1, count, dtype=torch.bool)
            marked = smallest_share(torch.rand(1, count), among, ratio)
            assert int(marked.sum()) == int(ratio * count)


def test_share_out_of_range():
    with pytest.raises(ValueError, match='must lie in'):
        ContextShift((0,), 1.5)
