# SPDX-License-Identifier: Apache-2.0
"""Class texts and settings of methods without training."""

import warnings
from itertools import product

import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

import ovseg_mm  # noqa: F401  registers the data sets
from ovseg_mm.utils.paths import resource
from ovseg_mm.vocabulary import (
    check_same_classes,
    get_templates,
    load_vocabulary,
)

# Classes and texts of each list.
COUNTS = {
    'voc21': (21, 21),
    'voc21-sclip': (21, 56),
    'voc21-clearclip': (21, 21),
    'voc21-sfp': (21, 56),
    'voc20-sclip': (20, 30),
    'voc20-clearclip': (20, 20),
    'voc20-sfp': (20, 30),
    'voc20-maskclip': (20, 20),
    'pc60': (60, 60),
    'pc59-maskclip': (59, 59),
    'coco_object': (81, 81),
    'coco_object-sclip': (81, 113),
    'coco-sclip': (171, 171),
    'coco-maskclip': (171, 171),
    'cityscapes-sclip': (19, 19),
    'cityscapes-sfp': (19, 19),
    'ade150-sclip': (150, 150),
    'background_words': (26, 26),
}


@pytest.mark.parametrize('key', COUNTS)
def test_lists(key):
    vocabulary = load_vocabulary(key)
    each = vocabulary.each_text()
    assert (vocabulary.num_labels, each.num_texts) == COUNTS[key]
    assert vocabulary.num_texts == vocabulary.num_labels
    # Labels are named as those of the plain list.
    plain = key.split('-')[0]
    names = [name.strip() for name in load_vocabulary(plain).label_names]
    assert list(vocabulary.label_names) == names


def test_background_is_the_first_label_of_those_that_have_it():
    background = load_vocabulary('background_words').names
    for key in ('voc21-sclip', 'voc21-sfp', 'coco_object-sclip'):
        vocabulary = load_vocabulary(key)
        assert vocabulary.class_texts[0] == background
        assert vocabulary.label_named('background') == 0
    for key in ('voc21', 'voc21-clearclip', 'pc60', 'coco_object'):
        vocabulary = load_vocabulary(key)
        assert vocabulary.class_texts[0] == ('background',)
    assert load_vocabulary('voc20-sclip').label_named('background') is None


def test_bed_of_coco_is_a_word_of_the_background_too():
    texts = load_vocabulary('coco_object-sclip').class_texts
    assert texts[60] == ('bed',) and 'bed' in texts[0]


def test_every_text_with_the_label_of_its_class():
    vocabulary = load_vocabulary(
        dict(
            class_texts=['cat|kitten', 'dog', 'puppy'],
            label_names=['cat', 'dog'],
            prompt_to_label=[0, 1, 1],
        )
    )
    each = vocabulary.each_text()
    assert each.names == ('cat', 'kitten', 'dog', 'puppy')
    assert each.prompt_to_label == (0, 0, 1, 1)
    assert each.label_names == ('cat', 'dog')
    assert each.each_text() == each


def test_others_are_a_label_behind_the_rest():
    vocabulary = load_vocabulary(['cat|kitten', 'dog'])
    longer = vocabulary.with_others([' Dog', 'kitten', 'sky', 'sea'], 'rest')
    assert longer.names == ('cat', 'dog', 'sky', 'sea')
    assert longer.prompt_to_label == (0, 1, 2, 2)
    assert longer.label_names == ('cat', 'dog', 'rest')
    assert vocabulary.with_others(['DOG'], 'rest') is vocabulary


def test_templates_of_mask_clip():
    templates = get_templates('maskclip')
    assert len(templates) == 85
    assert templates[:80] == get_templates('imagenet')
    assert templates[80] == 'there is a {} in the scene.'


# Settings of each benchmark: short side, window, stride, scale, least
# probability, least area.
SETS = (
    'pascal-voc21',
    'pascal-context-60',
    'coco-object',
    'pascal-voc20',
    'pascal-context-59',
    'coco-stuff164k',
    'cityscapes',
    'ade20k',
)
DEFAULTS = {
    'sclip': (336, 224, 112, 40, 0.0, None),
    'naclip': (336, 224, 112, 40, 0.0, None),
    'scclip': (336, 224, 112, 40, 0.0, None),
    'sfp': (336, 224, 112, 40, 0.0, None),
    'clearclip': (448, 448, 224, 50, 0.0, None),
    'maskclip': (448, 448, 224, 50, 0.0, None),
}
CALIBRATED = {
    'pascal-voc21': (336, 224, 112, 50, 0.15, 0.1),
    'pascal-context-60': (336, 224, 112, 40, 0.15, None),
    'coco-object': (336, 224, 112, 55, 0.35, None),
    'cityscapes': (560, 224, 112, 40, 0.0, None),
}
CLEAR = {
    'pascal-voc21': (448, 448, 224, 50, 0.5, None),
    'pascal-context-60': (448, 448, 224, 50, 0.15, None),
    'coco-object': (448, 448, 224, 50, 0.4, None),
    'cityscapes': (448, 224, 224, 50, 0.0, None),
}
SETTINGS = {
    'sclip': {
        'pascal-voc21': (336, 224, 112, 65, 0.1, 0.1),
        'pascal-context-60': (336, 224, 112, 50, 0.1, None),
        'coco-object': (336, 224, 112, 50, 0.1, None),
        'coco-stuff164k': (448, 224, 112, 40, 0.0, None),
        'cityscapes': (560, 224, 112, 40, 0.0, None),
    },
    'naclip': {
        'pascal-voc21': (336, None, None, 40, 0.1, None),
        'pascal-voc20': (336, None, None, 40, 0.0, None),
        'pascal-context-60': (336, 224, 112, 40, 0.1, None),
        'coco-object': (336, 224, 112, 40, 0.1, None),
        'cityscapes': (560, 224, 112, 40, 0.0, None),
    },
    'scclip': CALIBRATED,
    'sfp': {**CALIBRATED, 'ade20k': (384, 224, 112, 40, 0.0, None)},
    'clearclip': CLEAR,
    'maskclip': CLEAR,
}
TEXTS = {
    'pascal-voc21': 56,
    'pascal-voc20': 30,
    'coco-object': 113,
    'pascal-context-60': 60,
    'pascal-context-59': 59,
    'coco-stuff164k': 171,
    'cityscapes': 19,
    'ade20k': 150,
}
ONE_TEXT_A_CLASS = {
    'pascal-voc21': 21,
    'pascal-voc20': 20,
    'coco-object': 81,
}


def config_of(method, dataset):
    folder = resource('configs', 'training_free')
    name = f'{method}_clip-vit-b16_{dataset}-*x*.py'
    (path,) = folder.glob(name)
    return Config.fromfile(path)


@pytest.mark.parametrize(('method', 'dataset'), list(product(DEFAULTS, SETS)))
def test_settings_of_a_benchmark(method, dataset):
    cfg = config_of(method, dataset)
    options = cfg.model.test_cfg
    (step,) = (
        step
        for step in cfg.test_dataloader.dataset.pipeline
        if step['type'] == 'Resize'
    )
    assert step['scale'][0] == 2048 and step['keep_ratio']
    window = stride = None
    if options.mode == 'slide':
        (window,), (stride,) = set(options.crop_size), set(options.stride)
    found = (
        step['scale'][1],
        window,
        stride,
        options.logit_scale,
        options.get('prob_thd', 0.0),
        options.get('area_thd'),
    )
    assert found == SETTINGS[method].get(dataset, DEFAULTS[method])
    assert ('refine' in options) == (method == 'naclip')
    vocabulary = load_vocabulary(cfg.model.vocabulary)
    counts = dict(TEXTS)
    if method in ('clearclip', 'maskclip'):
        counts.update(ONE_TEXT_A_CLASS)
    assert vocabulary.each_text().num_texts == counts[dataset]
    people = 'people' in str(vocabulary.class_texts)
    assert people == (
        method == 'sfp'
        and dataset in ('pascal-voc21', 'pascal-voc20', 'cityscapes')
    )


@pytest.mark.parametrize(
    'path',
    sorted(resource('configs', 'training_free').glob('*.py')),
    ids=lambda path: path.stem,
)
def test_model_and_data_have_the_same_classes(path):
    cfg = Config.fromfile(path)
    dataset = cfg.test_dataloader.dataset
    known = DATASETS.get(dataset.type)
    named = dataset.get('vocabulary') or known.DEFAULTS['vocabulary']
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check_same_classes(
            load_vocabulary(cfg.model.vocabulary),
            load_vocabulary(named).label_names,
            path.stem,
        )
