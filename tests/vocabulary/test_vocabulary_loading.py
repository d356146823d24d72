# SPDX-License-Identifier: Apache-2.0
import json
import warnings

import pytest
from mmengine.config import ConfigDict
from mmseg.datasets import (
    ADE20KDataset,
    CityscapesDataset,
    COCOStuffDataset,
    PascalContextDataset59,
    PascalVOCDataset,
)

from ovseg_mm.vocabulary import load_vocabulary, shipped_vocabularies

SIZES = {
    'ade150': 150,
    'ade150-synonyms': 150,
    'ade847': 847,
    'cityscapes': 19,
    'coco': 171,
    'pc459': 459,
    'pc459-spaced': 459,
    'pc59': 59,
    'pc59-table': 59,
    'voc20': 20,
    'ade150-sclip': 150,
    'background_words': 26,
    'cityscapes-sclip': 19,
    'cityscapes-sfp': 19,
    'coco-maskclip': 171,
    'coco-sclip': 171,
    'coco_object': 81,
    'coco_object-sclip': 81,
    'pc59-maskclip': 59,
    'pc60': 60,
    'voc20-clearclip': 20,
    'voc20-maskclip': 20,
    'voc20-sclip': 20,
    'voc20-sfp': 20,
    'voc21': 21,
    'voc21-clearclip': 21,
    'voc21-sclip': 21,
    'voc21-sfp': 21,
}


@pytest.mark.parametrize(('key', 'size'), SIZES.items())
def test_shipped_vocabularies_have_a_label_for_each_text(key, size):
    vocabulary = load_vocabulary(key)
    assert vocabulary.num_texts == vocabulary.num_labels == size
    assert vocabulary.prompt_to_label == tuple(range(size))
    assert vocabulary.ignore_label == (255 if size <= 255 else 65535)
    assert len(set(vocabulary.label_names)) == size


def test_list_of_shipped_vocabularies():
    expected = [*SIZES, 'voc20b', *SPLITS, 'toy_world']
    assert shipped_vocabularies() == sorted(expected)


# From the papers: PASCAL VOC and COCO-Stuff of ZS3Net and SPNet, and indices
# of PASCAL-Context in the alphabetical order of its classes.
SPLITS = {
    'voc20-15-5': [15, 16, 17, 18, 19],
    'coco-156-15': [
        *(19, 23, 28, 29, 36, 51, 76, 88, 94, 112),
        *(133, 136, 137, 157, 160),
    ],
    'pc59-49-10': [0, 6, 7, 14, 19, 24, 31, 33, 48, 54],
    'pc59-49-10-cascade': [0, 2, 3, 7, 9, 13, 17, 19, 31, 37],
}


@pytest.mark.parametrize(('key', 'unseen'), SPLITS.items())
def test_zero_shot_splits(key, unseen):
    vocabulary = load_vocabulary(key)
    base = key.split('-')[0]
    base = load_vocabulary('pc59-table' if base == 'pc59' else base)
    assert vocabulary.class_texts == base.class_texts
    assert vocabulary.palette == base.palette
    assert vocabulary.source.endswith(f'{key}.json')
    assert vocabulary.unseen == tuple(unseen)
    seen = load_vocabulary(dict(class_texts=key, subset='seen'))
    assert seen.names == tuple(vocabulary.names[i] for i in vocabulary.seen)
    assert seen.palette == tuple(
        vocabulary.palette[i] for i in vocabulary.seen
    )
    assert (seen.num_labels, seen.unseen) == (
        base.num_labels - len(unseen),
        (),
    )
    rest = load_vocabulary(dict(class_texts=key, subset='unseen'))
    assert rest.names == tuple(vocabulary.names[i] for i in unseen)


def test_subset_of_labels_that_share_texts():
    spec = dict(
        class_texts=['cat', 'sky', 'dog', 'wall'],
        label_names=['cat', 'dog', 'other'],
        prompt_to_label=[0, 2, 1, 2],
        unseen=['cat'],
        subset='seen',
    )
    vocabulary = load_vocabulary(spec)
    assert vocabulary.names == ('sky', 'dog', 'wall')
    assert vocabulary.label_names == ('dog', 'other')
    assert vocabulary.prompt_to_label == (1, 0, 1)
    with pytest.raises(ValueError, match="'base'; give 'seen' or 'unseen'"):
        load_vocabulary({**spec, 'subset': 'base'})
    with pytest.raises(ValueError, match='unseen part of .*no class text'):
        load_vocabulary(dict(class_texts=['cat'], subset='unseen'))


def test_other_words_for_some_classes():
    base = load_vocabulary('voc20b')
    renamed = {'diningtable': 'table, desk', 'wall': 'brick wall'}
    vocabulary = load_vocabulary(
        dict(class_texts='voc20b', renamed=renamed, unseen=['table'])
    )
    changed = {
        old: new
        for old, new in zip(base.class_texts, vocabulary.class_texts)
        if old != new
    }
    assert changed == {
        ('diningtable',): ('table', 'desk'),
        ('wall',): ('brick wall',),
    }
    names = list(base.label_names)
    names[10] = 'table'
    assert list(vocabulary.label_names) == names
    assert vocabulary.prompt_to_label == base.prompt_to_label
    assert vocabulary.palette == base.palette
    assert vocabulary.unseen == (10,)
    with pytest.raises(ValueError, match="'dinnertable', .*'diningtable'"):
        load_vocabulary(
            dict(class_texts='voc20b', renamed={'dinnertable': 'table'})
        )


def test_json_object(tmp_path):
    path = tmp_path / 'pets.json'
    path.write_text('{"class_texts": ["cat", "dog|hound"], "unseen": ["dog"]}')
    vocabulary = load_vocabulary(path)
    assert vocabulary.class_texts == (('cat',), ('dog', 'hound'))
    assert vocabulary.unseen == (1,)
    assert vocabulary.source == str(path)


@pytest.mark.parametrize(
    ('key', 'dataset', 'start', 'renamed'),
    [
        ('ade150', ADE20KDataset, 0, {}),
        ('cityscapes', CityscapesDataset, 0, {}),
        ('coco', COCOStuffDataset, 0, {}),
        ('pc59', PascalContextDataset59, 0, {49: 'diningtable'}),
        ('voc20', PascalVOCDataset, 1, {10: 'diningtable'}),
    ],
)
def test_names_and_colours_are_those_of_mmseg(key, dataset, start, renamed):
    vocabulary = load_vocabulary(key)
    names = list(dataset.METAINFO['classes'][start:])
    for index, name in renamed.items():
        names[index] = name
    assert list(vocabulary.names) == names
    palette = [list(c) for c in dataset.METAINFO['palette'][start:]]
    assert vocabulary.metainfo['palette'] == palette


def test_texts_are_kept_byte_for_byte():
    assert load_vocabulary('ade150').names[7] == 'bed '
    assert load_vocabulary('ade847').class_texts[1] == ('building', 'edifice')


def test_large_vocabularies_have_a_colour_for_each_label():
    for key in ('ade847', 'pc459'):
        vocabulary = load_vocabulary(key)
        assert len(set(vocabulary.palette)) == vocabulary.num_labels


def test_voc20b_sends_59_texts_to_21_labels():
    vocabulary = load_vocabulary('voc20b')
    assert (vocabulary.num_texts, vocabulary.num_labels) == (59, 21)
    assert vocabulary.label_names[:20] == load_vocabulary('voc20').names
    assert vocabulary.label_names[20] == 'background'
    assert vocabulary.prompt_to_label == (*range(20), *[20] * 39)
    assert vocabulary.palette[20] == (0, 0, 0)


def test_ade847_warns_of_its_nine_shared_names():
    with pytest.warns(
        UserWarning, match=r'\(entries 114, 191, 252\)'
    ) as found:
        vocabulary = load_vocabulary('ade847')
    assert len(found) == 1
    groups = vocabulary.duplicates()
    assert len(groups) == 9
    assert sum(len(group) - 1 for group in groups) == 10
    assert (174, 255) in groups


def test_other_shipped_vocabularies_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for key in set(shipped_vocabularies()) - {'ade847'}:
            load_vocabulary(key)


def write_json(folder):
    path = folder / 'words.json'
    path.write_text(json.dumps(['sofa, couch', 'bed ']))
    return path


def write_txt(folder):
    path = folder / 'words.txt'
    path.write_bytes(b'\xef\xbb\xbfsofa|couch\r\nbed \r\n')
    return path


def write_tsv(folder):
    path = folder / 'words.tsv'
    path.write_text('sofa|couch\tseat\nbed \n')
    return path


@pytest.mark.parametrize('write', [write_json, write_txt, write_tsv])
def test_files_of_each_kind(tmp_path, write):
    path = write(tmp_path)
    for spec in (path, str(path)):
        vocabulary = load_vocabulary(spec)
        assert vocabulary.class_texts == (('sofa', 'couch'), ('bed ',))
        assert vocabulary.source == str(path)
    first = 'seat' if write is write_tsv else 'sofa'
    assert vocabulary.label_names == (first, 'bed ')


def test_lists_keep_order_and_may_hold_one_word():
    assert load_vocabulary(['zebra', 'ant']).names == ('zebra', 'ant')
    single = load_vocabulary(('sofa|couch, settee',))
    assert single.class_texts == (('sofa', 'couch', 'settee'),)
    assert single.num_labels == 1
    assert load_vocabulary(single) is single


def test_mapping_replaces_labels_colours_and_unseen():
    spec = ConfigDict(
        class_texts=['cat', 'dog', 'sky', 'sea'],
        label_names=['cat', 'dog', 'rest'],
        prompt_to_label=[0, 1, 2, 2],
        unseen=['rest', 0],
        palette=[[1, 2, 3], [4, 5, 6], [7, 8, 9]],
    )
    vocabulary = load_vocabulary(spec)
    assert vocabulary.num_texts == 4
    assert vocabulary.prompt_to_label == (0, 1, 2, 2)
    assert (vocabulary.unseen, vocabulary.seen) == ((0, 2), (1,))
    assert vocabulary.metainfo == dict(
        classes=['cat', 'dog', 'rest'],
        palette=[[1, 2, 3], [4, 5, 6], [7, 8, 9]],
        unseen=[0, 2],
    )


def test_mapping_over_a_shipped_key_keeps_the_rest():
    plain = load_vocabulary('voc20b')
    changed = load_vocabulary(dict(class_texts='voc20b', unseen=['sofa']))
    assert changed.unseen == (17,)
    assert changed.prompt_to_label == plain.prompt_to_label
    assert changed.palette == plain.palette


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"a": 1}', 'JSON dict, but no list of classes'),
        ('["a", 3]', 'entry 1 .* is 3, a int'),
        ('["a", ["b"]]', r"entry 1 .* is \['b'\], a list"),
        ('["a", " "]', 'entry 1 .* empty class text'),
        ('["a, "]', 'entry 0 .* empty class text'),
        ('["a"', 'not valid JSON .line 1'),
        ('[]', 'has no class text'),
    ],
)
def test_wrong_json_is_named(tmp_path, content, message):
    path = tmp_path / 'words.json'
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load_vocabulary(path)
    assert str(path) in str(error.value)


def test_unknown_names_show_what_there_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="did you mean 'ade150'"):
        load_vocabulary('ade15')
    (tmp_path / 'animals.txt').write_text('cat\n')
    with pytest.raises(FileNotFoundError, match="mean 'animals.txt'"):
        load_vocabulary(str(tmp_path / 'animal.txt'))
    with pytest.raises(FileNotFoundError, match=r"a list: \['cat', 'dog'\]"):
        load_vocabulary('cat,dog')


@pytest.mark.parametrize(
    ('spec', 'message'),
    [
        (7, 'the type int is wrong'),
        (dict(classes=['a']), r"the keys \['classes'\]"),
        (dict(class_texts=dict(class_texts=['a'])), 'is another mapping'),
        (dict(class_texts=['a'], unseen=['b']), "'unseen' contains 'b'"),
        (dict(class_texts=['a'], unseen=[1]), r"'unseen' contains \[1\]"),
        (dict(class_texts=['a', 'b'], label_names=['c']), 'give prompt_to_'),
        (
            dict(class_texts=['a'], label_names=5),
            "a list of strings; found '5",
        ),
        (
            dict(class_texts=['a'], label_names=[5]),
            'must be a list of strings',
        ),
        (dict(class_texts=['a'], palette=3), "palette.* a list; found '3'"),
        (dict(class_texts=['a'], unseen='a'), "unseen.* a list; found 'a'"),
        (
            dict(class_texts=['a'], renamed={'a': 3}),
            'must be a dict of strings',
        ),
        (
            dict(class_texts=['a'], renamed=['a']),
            'must be a dict of strings; found',
        ),
        (dict(class_texts=['a'], palette=[]), 'palette has 0 colours for 1'),
        (dict(class_texts=['a'], palette=[[0, 0, 256]]), 'from 0 to 255'),
        (dict(class_texts=['a'], palette=[[0, 0, 'x']]), 'from 0 to 255'),
        (dict(class_texts=['a'], palette=[1]), 'three integers'),
        (dict(class_texts=['a'], palette=['red']), 'three integers'),
        (dict(class_texts=['a'], prompt_to_label=[0, 0]), '2 labels for 1'),
        (dict(class_texts=['a'], prompt_to_label=[1]), r'contains \[1\], but'),
        (
            dict(
                class_texts=['a'], label_names=['a', 'b'], prompt_to_label=[0]
            ),
            r"has the label 1 \('b'\)",
        ),
    ],
)
def test_wrong_specs(spec, message):
    with pytest.raises(ValueError, match=message):
        load_vocabulary(spec)


def test_duplicates_of_a_user_are_named_once():
    with pytest.warns(UserWarning, match=r"'Hot dog' \(entries 0, 2") as found:
        vocabulary = load_vocabulary(
            dict(class_texts=['Hot dog', 'cat', 'hot  dog '], unseen=[1])
        )
    assert len(found) == 1
    assert vocabulary.num_labels == 3


@pytest.mark.filterwarnings('error')
def test_synonyms_tell_entries_of_one_name_apart():
    vocabulary = load_vocabulary(['bat|animal', 'bat|club', 'sky'])
    assert vocabulary.label_names == ('bat, animal', 'bat, club', 'sky')
    assert vocabulary.duplicates() == []


@pytest.mark.parametrize('suffix', ['json', 'txt', 'tsv'])
def test_missing_files_are_called_missing(tmp_path, suffix):
    (tmp_path / f'words.{suffix}').write_text('["a"]')
    path = tmp_path / f'word.{suffix}'
    with pytest.raises(FileNotFoundError) as error:
        load_vocabulary(path)
    message = f'{path}: there is no such vocabulary file; did you mean'
    assert str(error.value).startswith(message)
