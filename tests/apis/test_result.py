# SPDX-License-Identifier: Apache-2.0
"""What a result says about its image, and the files that it writes."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovseg_mm.apis import Segmentation
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import read_image, read_label_map
from ovseg_mm.vocabulary import load_vocabulary

IGNORED = 255
# A frame of label 0 with a hole, two regions of 1, a speck of 2 in one.
LABELS = np.array(
    [
        [0, 0, 0, 0, 1, 1, 1],
        [0, 255, 255, 0, 1, 2, 1],
        [0, 255, 0, 0, 1, 1, 1],
        [0, 0, 0, 255, 255, 255, 255],
        [255, 255, 255, 255, 255, 1, 1],
    ]
)


@pytest.fixture
def result() -> Segmentation:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (*LABELS.shape, 3), np.uint8)
    scores = rng.random((3, *LABELS.shape), np.float32)
    words = load_vocabulary(['cat', 'sofa|couch', 'a/b: c'])
    return Segmentation(image, LABELS, words, scores)


def test_names_shares_and_masks(result):
    assert result.class_names == ('cat', 'sofa', 'a/b: c')
    assert result.palette == result.vocabulary.palette
    shares = result.shares()
    assert list(shares) == ['cat', 'sofa', 'a/b: c']
    assert shares['sofa'] == pytest.approx(10 / 35)
    masks = result.masks()
    assert list(masks) == list(shares)
    assert masks['sofa'].dtype == bool
    assert np.array_equal(masks['sofa'], LABELS == 1)
    assert repr(result).startswith('Segmentation(5 x 7: cat 34.3%, sofa')


def test_boxes_and_polygons(result):
    boxes = result.boxes()
    assert boxes[0] == ('cat', 0, 12, 0, 0, 4, 4)
    assert [box.area for box in boxes] == [12, 8, 2, 1]
    assert len(result.boxes(min_area=8)) == 2
    frame, ring, pair, speck = result.polygons()
    assert speck.rings[0].tolist() == [[5, 1], [6, 1], [6, 2], [5, 2]]
    assert pair.rings[0].tolist() == [[5, 4], [7, 4], [7, 5], [5, 5]]
    outline, hole = ring.rings
    assert sorted(hole.tolist()) == sorted(speck.rings[0].tolist())
    assert len(frame.rings) == 2 and len(frame.rings[1]) == 6


def test_polygons_are_those_of_gdal():
    features = pytest.importorskip('rasterio.features')
    geometry = pytest.importorskip('shapely.geometry')
    words = load_vocabulary(['a', 'b', 'c'])
    rng = np.random.default_rng(0)
    for size in ((1, 1), (1, 9), (8, 11), (12, 7)):
        labels = rng.integers(0, 3, size).astype(np.uint8)
        image = np.zeros((*size, 3), np.uint8)
        found = Segmentation(image, labels, words)
        theirs = [
            (geometry.shape(shape), value)
            for shape, value in features.shapes(labels, connectivity=4)
        ]
        ours = found.to_geojson()['features']
        assert len(ours) == len(theirs)
        for feature in ours:
            polygon = geometry.shape(feature['geometry'])
            assert polygon.is_valid and polygon.exterior.is_ccw
            assert polygon.area == feature['properties']['area']
            assert any(
                value == feature['properties']['label']
                and polygon.equals(other)
                for other, value in theirs
            )


def test_coco(result):
    found = json.loads(json.dumps(result.to_coco(image_id=7)))
    assert [c['id'] for c in found['categories']] == [1, 2, 3]
    assert found['images'] == [dict(id=7, file_name='', height=5, width=7)]
    for annotation in found['annotations']:
        mask = rle.decode(annotation['segmentation'])
        wanted = LABELS == annotation['category_id'] - 1
        assert np.array_equal(mask, wanted)
        assert annotation['area'] == wanted.sum()
    assert found['annotations'][2]['bbox'] == [5, 1, 1, 1]


def test_scores_of_one_class(result):
    assert np.array_equal(result.scores_of('sofa'), result.scores[1])
    order = np.argsort(-result.scores, axis=0)[:2]
    best = np.take_along_axis(result.scores, order, 0).astype(np.float16)
    part = replace(result, scores=best, score_labels=order)
    known = (order == 1).any(axis=0)
    scores = part.scores_of('sofa')
    assert np.allclose(scores[known], result.scores[1][known], atol=1e-3)
    assert np.isnan(scores[~known]).all() and scores.dtype == np.float32
    with pytest.raises(InputError, match="'Sofa' is not a class"):
        result.heatmap('Sofa')
    with pytest.raises(InputError, match="scores='all'"):
        replace(result, scores=None).heatmap('sofa')


def test_all_files(result, tmp_path):
    kinds = ('labels', 'overlay', 'heatmaps', 'masks', 'coco', 'geojson')
    paths = result.save(tmp_path / 'new', kinds, name='deep/street')
    assert tuple(paths) == kinds
    found = sorted(
        str(path.relative_to(tmp_path / 'new/deep'))
        for path in (tmp_path / 'new').rglob('*')
        if path.is_file()
    )
    each = ['000_cat.png', '001_sofa.png', '002_a_b_c.png']
    assert found == sorted(
        [
            *(f'street_{kind}/{file}' for kind in kinds[2:4] for file in each),
            *(f'street_{end}' for end in ('labels.png', 'overlay.png')),
            *('street.geojson', 'street_coco.json'),
        ]
    )
    assert np.array_equal(read_label_map(str(paths['labels'])), LABELS)
    assert np.array_equal(read_image(paths['overlay']), result.overlay())
    mask = np.array(Image.open(paths['masks'] / '001_sofa.png'))
    assert np.array_equal(mask, (LABELS == 1) * 255)
    (pair,) = result.save(tmp_path, 'side_by_side').values()
    pair = read_image(pair)
    assert np.array_equal(pair, result.overlay(side_by_side=True))
    heat = read_image(paths['heatmaps'] / '000_cat.png')
    assert np.array_equal(heat, result.heatmap('cat'))
    assert json.loads(paths['geojson'].read_text()) == result.to_geojson()


def test_names_of_files(result, tmp_path):
    assert result.save(tmp_path, 'labels') == {
        'labels': tmp_path / 'image_labels.png'
    }
    named = replace(result, path=tmp_path / 'cat.tar.jpg')
    paths = named.save(tmp_path)
    assert paths['overlay'] == tmp_path / 'cat.tar_overlay.png'
    with pytest.raises(InputError, match="did you mean 'overlay'"):
        result.save(tmp_path / 'none', ['labels', 'overlays'])
    with pytest.raises(InputError, match="scores='all'"):
        replace(result, scores=None).save(tmp_path / 'none', 'heatmaps')
    with pytest.raises(InputError, match='leads out of the folder'):
        result.save(tmp_path / 'none', 'labels', name='../x')
    assert not (tmp_path / 'none').exists()


def test_a_missing_library_is_named_before_anything_is_written(
    result, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        'ovseg_mm.utils.result_files.find_spec', lambda name: None
    )
    for call in (
        result.to_coco,
        lambda: result.save(tmp_path / 'none', ['labels', 'coco']),
    ):
        with pytest.raises(ImportError, match=r'ovseg_mm\[coco\]'):
            call()
    assert not (tmp_path / 'none').exists()


def test_nothing_found(result, tmp_path):
    empty = replace(result, labels=np.full(LABELS.shape, IGNORED))
    assert empty.shares() == {} and empty.masks() == {}
    assert empty.boxes() == [] and empty.to_coco()['annotations'] == []
    assert empty.to_geojson()['features'] == []
    assert repr(empty) == 'Segmentation(5 x 7: nothing)'
    empty.save(tmp_path, ['overlay', 'masks', 'geojson', 'coco'])


def test_notebook_picture(result):
    picture = Image.open(io.BytesIO(result._repr_png_()))
    assert np.array_equal(np.array(picture), result.overlay())
