# SPDX-License-Identifier: Apache-2.0
import itertools
import json
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ovseg_mm.inference import Labelling
from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import load_vocabulary

rasterio = pytest.importorskip('rasterio')

from ovseg_mm.rasters import (  # noqa: E402
    RasterReader,
    is_georeferenced,
    segment_raster,
)
from ovseg_mm.rasters.tiles import spans  # noqa: E402

PLACE = dict(
    crs='EPSG:32632',
    transform=rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5400000),
)


def write_raster(path, planes, **options):
    """Write planes (C, H, W) as GeoTIFF."""
    count, height, width = planes.shape
    profile = dict(count=count, height=height, width=width, dtype=planes.dtype)
    with rasterio.open(
        path, 'w', driver='GTiff', **profile, **{**PLACE, **options}
    ) as file:
        file.write(planes)
    return path


@pytest.fixture
def planes(scene) -> np.ndarray:
    return scene.transpose(2, 0, 1)


class RelativeModel:
    """Calls pixels bright or dark beside the mean of their tile."""

    model = nn.Module()

    @contextmanager
    def scored(self, rgb, words, **call):
        shade = torch.from_numpy(rgb.mean(axis=-1)) / 255
        scores = torch.stack([shade, 2 * shade.mean() - shade])
        yield SimpleNamespace(of=scores.__getitem__), Labelling((0, 1), 2)


def labels_of(result) -> np.ndarray:
    with rasterio.open(result.files['labels']) as file:
        return file.read(1)


def test_one_tile_gives_the_labels_of_the_picture(
    toy, words, scene, planes, tmp_path
):
    path = write_raster(tmp_path / 'field.tif', planes)
    assert is_georeferenced(path)
    out = tmp_path / 'out'
    save = ('labels', 'overlay', 'geojson')
    result = segment_raster(toy, path, words, out, save=save)
    expected = toy(scene, words)
    assert (labels_of(result) == expected.labels).all()
    assert result.shares == expected.shares()
    assert {file.name for file in out.iterdir()} == {
        'field_labels.tif',
        'field_labels.tif.aux.xml',
        'field_overlay.png',
        'field.geojson',
    }
    with rasterio.open(result.files['labels']) as file:
        assert file.crs == PLACE['crs']
        assert file.transform == PLACE['transform']
        assert file.profile['tiled'] and file.compression.name == 'deflate'
        assert file.nodata == 255
        assert file.colormap(1)[3][:3] == words.palette[3]
        assert file.tags(1)['class_3'] == words.label_names[3]
    with Image.open(result.files['overlay']) as image:
        assert image.width >= 130


def test_areas_are_polygons_at_their_place(toy, words, planes, tmp_path):
    pyogrio = pytest.importorskip('pyogrio')
    path = write_raster(tmp_path / 'field.tif', planes)
    result = segment_raster(
        toy, path, words, tmp_path, save=('geojson', 'gpkg')
    )
    found = json.loads(result.files['geojson'].read_text())['features']
    names = {feature['properties']['class'] for feature in found}
    assert names == set(result.shares)
    assert len(names) > 3
    corner = np.array(found[0]['geometry']['coordinates'][0][0])
    # UTM zone 32 has its middle at 9 degrees east.
    assert abs(corner - [9, 48.75]).max() < 0.01
    meta, _, wkb, (classes, values) = pyogrio.raw.read(result.files['gpkg'])
    assert len(wkb) == len(found) and meta['crs'] == 'EPSG:32632'
    assert {words.label_names[value] for value in values} == set(classes)


def test_an_interrupted_raster_continues_and_is_the_same(planes, tmp_path):
    toy, words = RelativeModel(), load_vocabulary(['bright', 'dark'])
    path = write_raster(tmp_path / 'field.tif', planes)
    whole = segment_raster(toy, path, words, tmp_path / 'whole', tile=48)
    seen = []

    def stop(done, total):
        seen.append((done, total))
        if done == 6:  # in the second row of four
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_raster(
            toy, path, words, tmp_path / 'again', tile=48, on_tile=stop
        )
    assert seen[-1] == (6, 9)
    left = tmp_path / 'again'
    assert [file.name for file in left.iterdir()] == ['field_labels.parts']
    seen.clear()
    result = segment_raster(
        toy,
        path,
        words,
        left,
        tile=48,
        on_tile=lambda *count: seen.append(count[0]),
    )
    assert seen[0] == 3 and seen[1] == 4, 'the first row is not made again'
    assert (labels_of(result) == labels_of(whole)).all()
    assert not list(left.glob('*parts'))
    # Other words do not continue with these rows.
    with pytest.raises(KeyboardInterrupt):
        segment_raster(toy, path, words, left, tile=48, on_tile=stop)
    seen.clear()
    words = load_vocabulary(['light', 'dark'])
    with pytest.raises(KeyboardInterrupt):
        segment_raster(toy, path, words, left, tile=48, on_tile=stop)
    assert seen[0] == (1, 9)


def test_tiles_that_disagree_are_joined_without_a_seam(tmp_path):
    """The picture is brighter to the right and to the bottom."""
    ramp = np.linspace(0, 120, 256)
    shade = (ramp[:, None] + ramp).astype(np.uint8)
    path = write_raster(tmp_path / 'ramp.tif', np.stack([shade] * 3))
    words = load_vocabulary(['bright', 'dark'])
    model = RelativeModel()
    result = segment_raster(model, path, words, tmp_path, tile=96)
    fused = labels_of(result)
    rows = columns = spans(256, 96, 12)
    cut = np.zeros_like(fused)
    with RasterReader(path) as reader:
        for y, x in itertools.product(rows, columns):
            with model.scored(reader.read(y, x)[0], words) as (scores, rule):
                tile = rule.labels(scores.of).numpy()[y.seen, x.seen]
            cut[y.first : y.cut, x.first : x.cut] = tile[y.done, x.done]

    def seams(labels) -> float:
        """Share of label changes where tiles meet."""
        edges = [span.cut for span in rows[:-1]]
        return np.mean(
            [labels[:, edge - 1] != labels[:, edge] for edge in edges]
            + [labels[edge - 1] != labels[edge] for edge in edges]
        )

    assert seams(cut) > 0.2
    assert seams(fused) < 0.05
    assert set(np.unique(fused)) == {0, 1}


def test_deep_bands_are_stretched_alike_in_all_windows(planes, tmp_path):
    toy, words = RelativeModel(), load_vocabulary(['bright', 'dark'])
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 60000, (1, *planes.shape[1:]), np.uint16)
    deep = planes[::-1].astype(np.uint16) * 40 + 300
    deep[:, :20] = 0
    path = write_raster(
        tmp_path / 'deep.tif', np.concatenate([deep, noise]), nodata=0
    )
    with RasterReader(path, (3, 2, 1)) as reader:
        (whole,), (column, *_) = spans(100, 100, 0), spans(130, 64, 8)
        rgb, valid = reader.read(whole, column)
        wide, _ = reader.read(whole, spans(130, 130, 0)[0])
        assert (wide[:, :64] == rgb).all()
        assert not valid[:20].any() and valid[20:].all()
        shades = rgb[20:].reshape(-1, 3).astype(float)
        stored = planes[:, 20:, :64].reshape(3, -1)
        for channel in range(3):
            assert (
                np.corrcoef(shades[:, channel], stored[channel])[0, 1] > 0.98
            )
        assert np.ptp(shades) > 150, 'the values use the range of bytes'
    result = segment_raster(
        toy, path, words, tmp_path, bands=(3, 2, 1), tile=48
    )
    labels = labels_of(result)
    assert (labels[:20] == 255).all() and (labels[20:] != 255).all()


def test_more_classes_than_a_byte_holds(planes, tmp_path):
    path = write_raster(tmp_path / 'field.tif', planes)
    words = load_vocabulary([f'class {index}' for index in range(300)])
    result = segment_raster(RelativeModel(), path, words, tmp_path, tile=48)
    with rasterio.open(result.files['labels']) as file:
        assert file.dtypes == ('uint16',) and file.nodata == 65535
        assert file.colormap(1)[299][:3] == words.palette[299]
        assert file.tags(1)['class_299'] == 'class 299'


def test_without_rasterio(planes, tmp_path, monkeypatch):
    path = write_raster(tmp_path / 'field.tif', planes)
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    assert is_georeferenced(path)
    words = load_vocabulary(['bright', 'dark'])
    with pytest.raises(ImportError, match=r"pip install 'ovseg_mm\[geo\]'"):
        segment_raster(RelativeModel(), path, words, tmp_path)


@pytest.mark.parametrize(
    'bands, words',
    [((1, 2, 9), 'has the bands 1 to 3'), ((1, 2), 'choose three bands')],
)
def test_bands_that_do_not_fit(planes, tmp_path, bands, words):
    path = write_raster(tmp_path / 'field.tif', planes)
    with pytest.raises(InputError, match=words):
        RasterReader(path, bands)


def test_damaged_rasters(toy, words, planes, tmp_path):
    path = tmp_path / 'text.tif'
    path.write_text('a text')
    with pytest.raises(InputError, match='cannot be read as a raster'):
        segment_raster(toy, path, words, tmp_path)
    assert not is_georeferenced(path)
    whole = write_raster(tmp_path / 'field.tif', planes)
    cut = tmp_path / 'cut.tif'
    cut.write_bytes(whole.read_bytes()[:12_000])
    with pytest.raises(InputError, match='cannot be read'):
        segment_raster(toy, cut, words, tmp_path / 'out', tile=48)
    assert not list((tmp_path / 'out').glob('*.tif'))


def test_results_that_rasters_do_not_have(toy, words, planes, tmp_path):
    path = write_raster(tmp_path / 'field.tif', planes)
    with pytest.raises(InputError, match='heatmaps cannot be saved for a ra'):
        segment_raster(toy, path, words, tmp_path, save=('heatmaps',))
