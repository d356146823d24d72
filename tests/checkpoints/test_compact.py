# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from ovseg_mm.checkpoints import (
    compact_clip,
    expand_clip,
    random_token_table,
)


def trained_clip(ids, seed=5, std=0.02):
    table = random_token_table(100, 8, seed, std)
    table[ids] = torch.rand(len(ids), 8)
    return {
        'token_embedding.weight': table,
        'ln_final.weight': torch.rand(8),
        'logit_scale': torch.tensor(2.5),
    }


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_round_trip(dtype):
    ids = [3, 0, 99, 7]
    weights = trained_clip(ids)
    compact = compact_clip(weights, ids + [7], 5, 0.02, dtype)
    assert sum(tensor.numel() for tensor in compact.values()) < 60
    expanded = expand_clip(compact)
    assert expanded.keys() == weights.keys()
    for name, tensor in weights.items():
        stored = expanded[name].float()
        if dtype == torch.float32:
            assert torch.equal(stored, tensor), name
        else:
            assert torch.allclose(stored, tensor, rtol=1e-3, atol=1e-6), name


def test_rows_not_in_use_do_not_depend_on_the_machine():
    table = random_token_table(49408, 4, seed=0, std=2.0)
    assert table.shape == (49408, 4) and table.dtype == torch.float32
    expected = np.array([1.764052345967664, 0.4001572083672233]) * 2
    assert np.array_equal(table[0, :2].numpy(), expected.astype(np.float32))


def test_bad_ids_and_parts():
    weights = trained_clip([1])
    with pytest.raises(ValueError, match=r'ids in \[0, 100\)'):
        compact_clip(weights, [100], 5, 0.02)
    with pytest.raises(ValueError, match=r'ids in \[0, 100\)'):
        compact_clip(weights, [], 5, 0.02)
    compact = compact_clip(weights, [1, 2], 5, 0.02)
    with pytest.raises(ValueError, match='no token_embedding.seed'):
        expand_clip(
            {k: v for k, v in compact.items() if not k.endswith('seed')}
        )
    compact['token_embedding.ids'] = torch.tensor([1, 100])
    with pytest.raises(ValueError, match=r'in \[1, 100\], .* ids below 100'):
        expand_clip(compact)
