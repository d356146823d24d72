# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest

from ovseg_mm.vocabulary import Vocabulary, load_vocabulary


def test_fingerprint_follows_texts_and_label_map_only():
    base = load_vocabulary(['cat', 'dog|hound'])
    same = load_vocabulary(
        dict(class_texts=['cat', 'dog, hound'], label_names=['a', 'b'])
    )
    assert base.fingerprint == same.fingerprint
    assert len(base.fingerprint) == 64
    other = [
        load_vocabulary(['cat', 'dog']),
        load_vocabulary(['dog|hound', 'cat']),
        dataclasses.replace(base, prompt_to_label=(1, 0)),
    ]
    assert len({v.fingerprint for v in [base, *other]}) == 4


def test_ignore_label_is_beyond_the_labels():
    words = [f'word {i}' for i in range(256)]
    assert load_vocabulary(words[:255]).ignore_label == 255
    assert load_vocabulary(words).ignore_label == 65535


def test_vocabulary_is_frozen_hashable_and_checks_itself():
    vocabulary = load_vocabulary(['cat'])
    assert hash(vocabulary) == hash(load_vocabulary(['cat']))
    with pytest.raises(dataclasses.FrozenInstanceError):
        vocabulary.source = 'elsewhere'
    with pytest.raises(ValueError, match='the palette has 0 colours'):
        Vocabulary((('cat',),), ('cat',), (0,), ())
