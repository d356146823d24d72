# SPDX-License-Identifier: Apache-2.0
import colorsys

import numpy as np
import pytest
from matplotlib.colors import CSS4_COLORS

from ovseg_mm.vocabulary import class_palette, load_vocabulary

STREET = 'road sidewalk car person sky tree building bus dog cat sofa'.split()


@pytest.mark.parametrize('size', [0, 1, 150, 4000])
def test_any_number_of_different_colours(size):
    palette = class_palette([f'word {n}' for n in range(size)])
    assert len(palette) == len(set(palette)) == size
    assert all(0 <= value <= 255 for colour in palette for value in colour)


def test_colours_are_far_apart_and_from_grey():
    colours = [(0, 0, 0), (128, 128, 128), (255, 255, 255)]
    colours = np.array([*colours, *class_palette(STREET)])
    distance = np.abs(colours[:, None] - colours).sum(axis=2)
    np.fill_diagonal(distance, 999)
    assert distance.min() >= 60


def test_a_word_at_the_end_changes_no_other_colour():
    words = [*STREET, 'red car', 'blue car', 'street lamp']
    for count in range(len(words)):
        assert class_palette(words[:count]) == class_palette(words)[:count]


def test_the_colour_follows_from_the_name():
    alone = {name: class_palette([name])[0] for name in STREET}
    assert len(set(alone.values())) == len(STREET)
    for order in (STREET, STREET[::-1], STREET[3:] + STREET[:3]):
        colours = dict(zip(order, class_palette(order)))
        moved = [name for name in STREET if colours[name] != alone[name]]
        assert colours[order[0]] == alone[order[0]]
        assert len(moved) <= len(STREET) // 2


@pytest.mark.parametrize(
    ('name', 'colour'),
    [
        ('Red car', 'red'),
        ('speckled blue', 'blue'),
        ('light blue sky', 'lightblue'),
        ('dark-green leaf', 'darkgreen'),
        ('white', 'white'),
        ('grey stone', 'grey'),
        ('Background', 'black'),
        ('black and white cow', 'black'),
    ],
)
def test_a_name_with_a_colour_has_it(name, colour):
    (found,) = class_palette([name])
    exact = CSS4_COLORS[colour].lstrip('#')
    exact = [int(exact[i : i + 2], 16) for i in (0, 2, 4)]
    assert np.abs(np.subtract(found, exact)).max() <= 16


@pytest.mark.parametrize('colour', ['red', 'orange', 'green', 'blue'])
def test_several_classes_of_one_colour_differ_and_keep_its_hue(colour):
    kinds = ['plain', 'dotted', 'striped', 'checkered', 'old', 'new']
    # Some other class may have a similar colour already.
    names = [*STREET, *(f'{kind} {colour}' for kind in kinds)]
    found = class_palette(names)[len(STREET) :]
    assert len(set(found)) == len(kinds)
    exact = CSS4_COLORS[colour].lstrip('#')
    hue = colorsys.rgb_to_hsv(*bytes.fromhex(exact))[0]
    for shade in found:
        turn = abs(colorsys.rgb_to_hsv(*shade)[0] - hue)
        assert min(turn, 1 - turn) < 0.08


def test_words_that_only_contain_letters_of_a_colour_have_none():
    for name in ('bored child', 'redwood', 'tangerine', 'greenhouse'):
        found = class_palette([name])[0]
        assert found != class_palette(['red'])[0]
        assert max(found) - min(found) > 30, 'neither white, black nor grey'


def test_many_classes_of_a_colour_with_few_shades():
    palette = class_palette([f'black cat {n}' for n in range(12)])
    assert len(set(palette)) == 12 and np.max(palette) < 60


def test_new_label_names_have_their_colours():
    words = dict(class_texts=['car', 'sky'], label_names=['red', 'sky'])
    assert load_vocabulary(words).palette == class_palette(['red', 'sky'])
    words = dict(class_texts=['car', 'sky'], renamed={'car': 'blue car'})
    assert load_vocabulary(words).palette == class_palette(['blue car', 'sky'])


def test_shipped_data_sets_keep_their_colours():
    assert load_vocabulary('ade150').palette[0] == (120, 120, 120)
    renamed = dict(class_texts='ade150', renamed={'wall': 'red wall'})
    assert load_vocabulary(renamed).palette[0] == (120, 120, 120)
