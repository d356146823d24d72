# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import class_palette, load_vocabulary

COLOURS = [[1, 2, 3], [4, 5, 6]]
OTHERS = [[7, 8, 9], [9, 8, 7]]


class OwnDataset(OpenVocabDataset):
    METAINFO = dict(palette=COLOURS)


def palette_of(kind=OpenVocabDataset, vocabulary=('cat', 'dog'), **kwargs):
    dataset = kind(
        vocabulary=vocabulary,
        data_prefix=dict(img_path='.'),
        lazy_init=True,
        **kwargs,
    )
    palette = [list(colour) for colour in dataset.metainfo['palette']]
    seen = dataset.vocabulary
    if dataset.unseen_labels == 'ignore':
        seen = seen.only('seen')
    assert palette == seen.metainfo['palette']
    return palette


@pytest.fixture
def word_file(tmp_path):
    path = tmp_path / 'words.txt'
    path.write_text('cat\ndog\n')
    return str(path)


def test_colours_of_the_data_set(word_file):
    meta = dict(palette=COLOURS)
    assert palette_of(metainfo=meta) == COLOURS
    assert palette_of(vocabulary=word_file, metainfo=meta) == COLOURS
    assert palette_of(OwnDataset) == COLOURS
    assert palette_of(OwnDataset, word_file) == COLOURS
    assert palette_of(OwnDataset, metainfo=dict(palette=OTHERS)) == OTHERS
    # The class's palette is of other labels.
    words = ['cat', 'dog', 'cow']
    plain = [list(colour) for colour in class_palette(words)]
    assert palette_of(OwnDataset, words) == plain
    assert palette_of(vocabulary=words) == plain


def test_colours_of_the_seen_labels():
    words = dict(class_texts=['cat', 'dog'], unseen=['cat'])
    assert palette_of(OwnDataset, words, unseen_labels='ignore') == COLOURS[1:]


def test_colours_of_the_vocabulary_stay(tmp_path):
    path = tmp_path / 'words.json'
    words = dict(class_texts=['cat', 'dog'], palette=OTHERS)
    path.write_text(json.dumps(words))
    for vocabulary in (words, str(path)):
        assert palette_of(OwnDataset, vocabulary) == OTHERS
        meta = dict(palette=COLOURS)
        assert palette_of(vocabulary=vocabulary, metainfo=meta) == OTHERS
    config = dict(class_texts=['cat', 'dog'], palette=COLOURS)
    assert load_vocabulary(config).metainfo['palette'] == COLOURS


def test_other_entries_of_metainfo():
    meta = dict(classes=['Cat', 'dog'], palette=COLOURS, author='me')
    assert palette_of(metainfo=meta) == COLOURS
    dataset = OpenVocabDataset(
        ['cat', 'dog'], dict(img_path='.'), metainfo=meta, lazy_init=True
    )
    assert dataset.metainfo['author'] == 'me'
    with pytest.raises(InputError, match='palette has 2 colours for 3'):
        palette_of(
            vocabulary=['a', 'b', 'c'], metainfo=meta | dict(classes=None)
        )
    with pytest.raises(InputError, match='of metainfo in another order'):
        palette_of(vocabulary=['dog', 'cat'], metainfo=meta)
