# SPDX-License-Identifier: Apache-2.0
"""The numbering of training labels, whatever data set they come from."""

import pytest
import torch
from mmseg.structures import SegDataSample

from ovseg_mm.models.segmentors.training_labels import (
    numbering_of,
    training_labels,
)
from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import load_vocabulary

SPLIT = dict(class_texts=['cat', 'dog', 'tree', 'sky'], unseen=['dog'])
ALL = load_vocabulary(SPLIT)
SEEN = load_vocabulary(dict(SPLIT, subset='seen'))


def number(values, vocabulary, count=None, **meta):
    sample = SegDataSample()
    sample.set_metainfo(dict(seg_map_path='a.png', **meta))
    labels = torch.tensor(values)[None, None]
    result = training_labels(labels, [sample], vocabulary, count)
    return result[0, 0].tolist()


def test_all_labels_become_those_of_the_seen_part():
    expected = [0, 255, 1, 2, 255]
    assert number([0, 1, 2, 3, 255], SEEN, 4) == expected
    # A sample that says it itself counts more.
    assert number([0, 1, 2, 3, 255], SEEN, 3, num_labels=4) == expected


def test_labels_of_the_part_stay():
    for count in (3, None):
        assert number([0, 1, 2, 255], SEEN, count) == [0, 1, 2, 255]
    assert number([0, 1, 2, 255], SEEN, 4, num_labels=3) == [0, 1, 2, 255]


def test_unseen_labels_become_unknown():
    assert number([0, 1, 2, 3, 255, -1], ALL, 4) == [0, -1, 2, 3, 255, -1]


def test_other_numberings_are_refused():
    with pytest.raises(InputError, match='have 3 labels.* has 4'):
        number([0], ALL, 3)
    with pytest.raises(InputError, match='have 5 labels.* has 3'):
        number([0], SEEN, 5)


@pytest.mark.parametrize('count', [3, 4])
def test_wrong_labels_are_named(count):
    for value in (7, -1):
        with pytest.raises(
            InputError, match=rf'a.png has the labels \[{value}'
        ):
            number([0, value], SEEN, count)


def test_numbering_is_told_by_labels_that_only_the_whole_has():
    assert numbering_of(torch.tensor([0, 3, 255]), SEEN) == 4
    assert numbering_of(torch.tensor([0, 2, 255]), SEEN) == 3
    assert numbering_of(torch.tensor([0, 77]), SEEN) == 3
    assert numbering_of(torch.tensor([0, 3]), ALL) == 4


def test_whole_of_many_labels_has_another_ignored_value():
    words = [f'word {i}' for i in range(300)]
    part = load_vocabulary(
        dict(class_texts=words, unseen=list(range(100, 300)), subset='seen')
    )
    assert number([5, 255, 299, 65535], part, 300) == [5, 255, 255, 255]
    assert number([5, 255, 65535], part, 100) == [5, 255, 255]
    # 99 of the seen part is the last label; 250 is one of the whole.
    assert numbering_of(torch.tensor([5, 250]), part) == 300
