# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.checkpoints import Drop, rename
from ovseg_mm.checkpoints.rename import map_tensor, split_rows

TABLE = [
    (r'a\.(\d+)\.w', r'b.\1.weight'),
    (r'a\..*', Drop('old')),
    (r'fused', split_rows('q', 'k', 'v')),
    (r'flat', map_tensor('shaped', torch.t)),
]


def test_rename():
    weights = {
        'a.0.w': torch.ones(2),
        'a.0.mask': torch.zeros(1),
        'fused': torch.arange(12.0).view(6, 2),
        'flat': torch.ones(2, 3),
        'other': torch.ones(1),
    }
    result = rename(weights, TABLE)
    assert list(result.state_dict) == ['b.0.weight', 'q', 'k', 'v', 'shaped']
    assert result.used == ['a.0.w', 'fused', 'flat']
    assert result.dropped == {'a.0.mask': 'old'}
    assert result.unused == ['other']
    assert result.state_dict['k'].tolist() == [[4, 5], [6, 7]]
    assert result.state_dict['shaped'].shape == (3, 2)
    assert len(weights) == 5


def test_patterns_match_whole_names():
    assert rename({'fused.x': torch.ones(3)}, TABLE).unused == ['fused.x']


def test_two_entries_for_one_name():
    table = [(r'[xy]', 'z')]
    with pytest.raises(ValueError, match="'y' and .* same new name 'z'"):
        rename({'x': torch.ones(1), 'y': torch.ones(1)}, table)


def test_uneven_split():
    with pytest.raises(ValueError, match='length 4 along'):
        rename({'fused': torch.ones(4, 2)}, TABLE)
