# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from matplotlib import font_manager, ft2font

from ovseg_mm.visualization import draw_overlay, draw_panels, font
from ovseg_mm.visualization.font import drawable_name, load_font
from ovseg_mm.vocabulary import class_palette, load_vocabulary

NAMES = ['cat', 'dog', 'sky']
COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]


def grey(height, width, value=100):
    return np.full((height, width, 3), value, dtype=np.uint8)


def colours_in(sheet):
    return {
        tuple(colour) for colour in np.unique(sheet.reshape(-1, 3), axis=0)
    }


def test_labels_tint_and_the_rest_shows_through():
    labels = np.zeros((300, 400), dtype=np.int64)
    labels[:, 200:], labels[:50], labels[50:60] = 1, 255, -1
    sheet = draw_overlay(grey(300, 400), labels, (NAMES, COLOURS), 0.5)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == 400
    assert sheet.shape[0] > 300
    assert sheet[100, 100].tolist() == [175, 50, 50]
    assert sheet[100, 300].tolist() == [50, 175, 50]
    assert sheet[25, 25].tolist() == sheet[55, 25].tolist() == [100, 100, 100]
    legend = colours_in(sheet[300:])
    assert {COLOURS[0], COLOURS[1]} < legend
    assert COLOURS[2] not in legend


def test_alpha_bounds():
    labels = np.zeros((256, 256), dtype=np.uint8)
    image = grey(256, 256)
    clear = draw_overlay(image, labels, (NAMES, COLOURS), 0)
    np.testing.assert_array_equal(clear[:256], image)
    solid = draw_overlay(image, labels, (NAMES, COLOURS), 1)
    assert (solid[:256] == COLOURS[0]).all()


def test_legend_is_sorted_by_area():
    labels = np.full((300, 300), 2)
    labels[:100] = 0
    labels[0, 0] = 1
    sheet = draw_overlay(grey(300, 300), labels, (NAMES, COLOURS))
    positions = []
    for label in (2, 0, 1):
        rows, columns = np.nonzero((sheet[300:] == COLOURS[label]).all(axis=2))
        positions.append((columns.min(), rows.min()))
    assert positions == sorted(positions)
    assert len(set(positions)) == 3


def test_unseen_classes_are_marked():
    labels = np.zeros((256, 256), dtype=np.int64)
    spec = dict(class_texts=NAMES, palette=COLOURS)
    plain = draw_overlay(grey(256, 256), labels, load_vocabulary(spec))
    marked = draw_overlay(
        grey(256, 256), labels, load_vocabulary(dict(spec, unseen=[0]))
    )
    again = draw_overlay(
        grey(256, 256), labels, load_vocabulary(spec), unseen=[0]
    )
    assert (marked[256:] < 128).sum() > (plain[256:] < 128).sum() + 100
    np.testing.assert_array_equal(marked, again)


@pytest.mark.parametrize(
    'size', [(1, 1), (1, 700), (700, 1), (3, 5), (37, 61), (2500, 40)]
)
def test_any_size(size):
    labels = np.arange(size[0] * size[1]).reshape(size) % 3
    sheet = draw_overlay(grey(*size), labels, (NAMES, COLOURS))
    factor = -(-256 // max(size)) if max(size) < 256 else 1
    assert sheet.shape[0] > size[0] * factor
    assert sheet.shape[1] >= max(size[1] * factor, 200)
    assert len(colours_in(sheet)) > 3


def test_many_classes_are_cut_and_long_names_shortened():
    names = ['a very long name of a class ' * 9] * 300
    labels = np.arange(90000).reshape(300, 300) % 300
    image = grey(300, 300)
    sheet = draw_overlay(image, labels, (names, class_palette(names)))
    assert sheet.shape[1] == 300
    few = draw_overlay(image, labels % 41, (names, class_palette(names)))
    # 40 classes and 'and n more', whether one or many are left out
    assert sheet.shape == few.shape


def test_panels_share_a_legend_and_have_titles():
    labels = np.zeros((300, 200), dtype=np.int64)
    panels = {'ground truth': labels, 'prediction': labels + 1}
    sheet = draw_panels(grey(300, 200), panels, NAMES, COLOURS, alpha=1.0)
    assert sheet.shape[1] >= 400
    assert {COLOURS[0], COLOURS[1]} < colours_in(sheet[-40:])
    middle = sheet[sheet.shape[0] // 2]
    assert middle[50].tolist() == list(COLOURS[0])
    assert middle[350].tolist() == list(COLOURS[1])
    top = draw_panels(
        grey(300, 200), panels, NAMES, COLOURS, with_legend=False
    )
    assert 300 < top.shape[0] < sheet.shape[0]


def test_only_ignored_pixels_leave_an_empty_legend():
    labels = np.full((260, 260), 255)
    sheet = draw_overlay(grey(260, 260), labels, (NAMES, COLOURS))
    assert (sheet[:260] == 100).all()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r'shape \(2, 2\), .* \(4, 4\)'):
        draw_overlay(grey(4, 4), np.zeros((2, 2), int), (NAMES, COLOURS))
    with pytest.raises(ValueError, match='must be RGB'):
        draw_overlay(np.zeros((4, 4)), np.zeros((4, 4), int), (NAMES, COLOURS))


def legend_of(name, label=0):
    """Legend of a picture that is all of one label."""
    names = ['x'] * label + [name]
    labels = np.full((256, 400), label)
    colours = [(0, 0, 0)] * label + [(255, 255, 255)]
    return draw_overlay(grey(256, 400), labels, (names, colours))[256:]


@pytest.mark.parametrize('name', ['Straße', 'мир', 'ψυχή', 'žluť', 'سماء'])
def test_letters_of_many_scripts_are_drawn(name):
    # The box that stands for a missing letter is the same for all of them.
    boxes = legend_of('\U0010fffd' * len(name))
    assert not np.array_equal(legend_of(name), boxes)
    assert drawable_name(name, 7) == name
    legends = {legend_of(letter).tobytes() for letter in name}
    assert len(legends) == len(set(name))


@pytest.fixture
def installed(monkeypatch):
    """Choose the fonts of the machine; the list is searched once."""

    def install(*files):
        calls = []

        def search():
            calls.append(files)
            return list(files)

        monkeypatch.setattr(font_manager, 'findSystemFonts', search)
        monkeypatch.setattr(font, '_used', {})
        for function in (font._installed_fonts, font._file_with):
            function.cache_clear()
        return calls

    yield install
    for function in (font._installed_fonts, font._file_with):
        function.cache_clear()


def test_names_without_letters_have_their_number(installed):
    installed()
    assert drawable_name('犬', 12) == '12: 犬'
    assert not np.array_equal(legend_of('犬', 1), legend_of('猫', 2))


def test_installed_fonts_are_searched_for_missing_letters(installed, tmp_path):
    # A font of matplotlib with signs that DejaVu Sans lacks.
    signs = str(Path(font._default_file()).with_name('STIXGeneral.ttf'))
    lacking = ft2font.FT2Font(signs).get_charmap().keys()
    sign = chr(min(lacking - font._points_of_default()))
    broken = tmp_path / 'broken.ttf'
    broken.write_bytes(b'not a font')
    searches = installed(str(broken), signs)
    assert drawable_name('Straße', 4) == 'Straße' and not searches
    assert drawable_name(sign, 4) == sign
    assert load_font(20, sign).path == signs
    assert load_font(20, 'cat').path == font._default_file()
    assert list(font._used) == [signs], 'it is tried first from now on'
    assert drawable_name(f'{sign}犬', 4) == f'4: {sign}犬'
    assert len(searches) == 1


def halves(height=300, width=400):
    """A label map with label 0 to the left and 1 to the right."""
    labels = np.zeros((height, width), dtype=np.int64)
    labels[:, width // 2 :] = 1
    return labels


def test_outlines_are_thin_and_white():
    options = dict(vocabulary=(NAMES, COLOURS), alpha=1.0)
    plain = draw_overlay(grey(300, 400), halves(), outlines=False, **options)
    drawn = draw_overlay(grey(300, 400), halves(), **options)
    assert colours_in(plain[:300]) == {COLOURS[0], COLOURS[1]}
    changed = (plain != drawn).any(axis=2)
    assert not changed[:, :195].any() and not changed[:, 205:].any()
    line = drawn[150, 195:205]
    assert (line == 255).all(axis=1).sum() == 1
    assert line.min(axis=0).max() < 200, 'it has dark edges'


def test_without_fill_the_outlines_have_the_colours():
    drawn = draw_overlay(
        grey(300, 400), halves(), (NAMES, COLOURS), fill=False
    )
    assert drawn[150, 100].tolist() == drawn[150, 300].tolist() == [100] * 3
    assert tuple(drawn[150, 198]) == COLOURS[0]
    assert tuple(drawn[150, 202]) == COLOURS[1]


def test_outlines_of_regions_without_a_label():
    labels = np.zeros((300, 300), dtype=np.uint8)
    labels[:150] = 255
    drawn = draw_overlay(grey(300, 300), labels, (NAMES, COLOURS), fill=False)
    assert (drawn[:145] == 100).all()
    assert tuple(drawn[152, 100]) == COLOURS[0]


def test_names_stand_where_they_fit():
    labels = halves(300, 600)
    labels[8:12] = 2
    names = ['cat', 'a name longer than half of the picture is wide', 'sky']
    options = dict(outlines=False, alpha=0.5)
    pictures = [
        draw_overlay(
            grey(300, 600), labels, (names, COLOURS), text=text, **options
        )
        for text in (False, True)
    ]
    rows, columns = np.nonzero((pictures[0] != pictures[1]).any(axis=2))
    # 'cat' in the middle of the larger of its two regions, nothing else
    assert rows.min() > 12 and columns.max() < 300
    assert abs(rows.mean() - 156) < 10 and 10 < np.ptp(columns) < 60
    ink = colours_in(pictures[1][:300]) - colours_in(pictures[0][:300])
    assert {(255, 255, 255), (20, 20, 20)} <= ink


def test_side_by_side_starts_with_the_image():
    sheet = draw_overlay(
        grey(300, 400), halves(), (NAMES, COLOURS), 1.0, side_by_side=True
    )
    assert sheet.shape[1] >= 800
    middle = sheet[sheet.shape[0] // 2]
    assert middle[100].tolist() == [100, 100, 100]
    assert middle[sheet.shape[1] - 350].tolist() == list(COLOURS[0])


def test_wrong_pixels_are_outlined_in_their_panel():
    wrong = np.zeros((300, 400), dtype=bool)
    wrong[100:200, 50:150] = True
    panels = {'truth': halves(), 'prediction': halves()}
    options = dict(names=NAMES, palette=COLOURS, with_legend=False)
    plain = draw_panels(grey(300, 400), panels, **options)
    sheet = draw_panels(
        grey(300, 400), panels, wrong={'prediction': wrong}, **options
    )
    rows, columns = np.nonzero((sheet == (255, 0, 60)).all(axis=2))
    top = len(sheet) - 300
    assert rows.min() >= 100 + top and rows.max() < 200 + top
    assert columns.min() > 400, 'the first panel has no lines'
    changed = (plain != sheet).any(axis=2).mean() * sheet.shape[1] / 400
    assert 0 < changed < 0.05, 'lines, not areas'
