# SPDX-License-Identifier: Apache-2.0
import warnings

import pytest
from mmseg.datasets import (
    ADE20KDataset,
    CityscapesDataset,
    COCOStuffDataset,
    PascalContextDataset59,
    PascalVOCDataset,
)

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import check_same_classes, load_vocabulary

DATA = ['traffic light', 'Road', 'sofa', 'tv-monitor']


def check(words, classes=DATA):
    check_same_classes(load_vocabulary(words), classes, 'the data set')


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield


@pytest.mark.parametrize(
    'words',
    [
        DATA,
        # Another spelling.
        ['Traffic_Light', 'road ', 'sofa', 'tvmonitor'],
        # Synonyms, before or behind the name.
        ['signal|traffic light', 'road, route', 'couch|sofa', 'tv monitor'],
        # Other words for the same classes.
        ['signal', 'street', 'couch', 'television'],
        # Other texts for labels that are named.
        dict(class_texts=['sofa', 'road', 'tv', 'x'], label_names=DATA),
    ],
)
@pytest.mark.usefixtures('no_warning')
def test_the_same_classes(words):
    check(words)


@pytest.mark.usefixtures('no_warning')
def test_the_same_classes_with_lists_of_synonyms_in_the_data():
    check(['couch', 'b'], ['sofa, couch, settee', 'a|b'])
    check(['sofa|couch', 'bag'], ['couch;sofa', 'bag, handbag'])
    check(['screen', 'crt|screen'], ['screen', 'crt screen'])


def test_counts():
    with pytest.raises(InputError, match='the data set has 4 labels, but'):
        check(DATA[:3])


@pytest.mark.parametrize(
    'words',
    [
        DATA[::-1],
        DATA[1:] + DATA[:1],
        # Two of them.
        ['road', 'traffic light', 'sofa', 'tv monitor'],
        # Another spelling, synonyms and other words for the rest.
        ['ROAD', 'traffic-light', 'couch', 'tele'],
        ['road, route', 'traffic light|signal', 'sofa', 'tele'],
        dict(class_texts=DATA[::-1], unseen=[0]),
    ],
)
def test_another_order_is_refused(words):
    message = r"another order: label 0 is 'traffic light' in the data and '"
    with pytest.raises(InputError, match=message):
        check(words)


def test_a_refusal_names_some_labels():
    names = list('abcdefg')
    with pytest.raises(InputError) as error:
        check(names[::-1], names)
    message = str(error.value)
    assert "label 2 is 'c' in the data and 'e' in the vocab" in message
    assert '(and 3 more)' in message and 'label_names' in message


@pytest.mark.parametrize(
    ('words', 'named'),
    [
        (['lamp', 'traffic light', 'sofa', 'tv monitor'], 'label 0 '),
        # Moved by one, as with a background.
        (['road', 'sofa', 'tv-monitor', 'sky'], 'label 1 .* label 2 .*'),
    ],
)
def test_a_name_of_another_label_is_warned_about(words, named):
    with pytest.warns(
        UserWarning, match=f'{named}.*class names of the data have other'
    ):
        check(words)


@pytest.mark.parametrize(
    ('key', 'classes'),
    [
        ('ade150', ADE20KDataset.METAINFO['classes']),
        ('ade150-synonyms', ADE20KDataset.METAINFO['classes']),
        ('cityscapes', CityscapesDataset.METAINFO['classes']),
        ('coco', COCOStuffDataset.METAINFO['classes']),
        ('pc59', PascalContextDataset59.METAINFO['classes']),
        ('pc59-table', PascalContextDataset59.METAINFO['classes']),
        ('voc20', PascalVOCDataset.METAINFO['classes'][1:]),
        ('ade150-synonyms', 'ade150'),
        ('ade150', 'ade150-synonyms'),
        ('ade847', 'ade847'),
        ('pc459-spaced', 'pc459'),
        ('pc459', 'pc459-spaced'),
        ('pc59-49-10', 'pc59'),
        ('voc20b', 'voc20b'),
    ],
)
@pytest.mark.usefixtures('no_warning')
def test_shipped_lists_of_the_same_classes(key, classes):
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*the same name')
        vocabulary = load_vocabulary(key)
        if isinstance(classes, str):
            classes = load_vocabulary(classes).label_names
    check_same_classes(vocabulary, classes, 'the data set')


def test_shipped_lists_in_another_order():
    # detectron2 numbers the objects of PASCAL VOC first.
    names = load_vocabulary('pc59').names
    objects = load_vocabulary('voc20').names
    names = [*objects, *(n for n in names if n not in objects)]
    with pytest.raises(InputError, match='in another order'):
        check('pc59', names)
