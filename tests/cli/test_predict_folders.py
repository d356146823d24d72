# SPDX-License-Identifier: Apache-2.0
"""Folders, formats, resuming and videos, with the model ``toy``."""

import json
import os
import shutil
import warnings

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ovseg_mm.apis import OpenVocabInferencer
from ovseg_mm.apis.files import FileSegmenter
from ovseg_mm.cli import main
from ovseg_mm.toy.scenes import make_scene

from ..end_to_end.conftest import run_two_ranks

WORDS = ['plain red', 'striped blue', 'water', 'stone', 'grass', 'sand']

# Pillow refuses images of twice as many pixels.
BOMB = 'PIL.Image.MAX_IMAGE_PIXELS'


@pytest.fixture(scope='module')
def model():
    # Refinement takes most of the time.
    options = {'model.test_cfg.refine': None}
    return OpenVocabInferencer('toy', device='cpu', cfg_options=options)


@pytest.fixture
def predict(model, tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder with a model that is loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        'ovseg_mm.apis.OpenVocabInferencer', lambda *args, **kwargs: model
    )

    def run(*arguments, classes=tuple(WORDS)):
        words = ('--model', 'toy', '--classes', *classes)
        status = main(['predict', *map(str, arguments), *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture(scope='session')
def scene() -> np.ndarray:
    rng = np.random.default_rng(1)
    return make_scene(rng, (48, 64), ('plain red',)).image


def lines_of(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_format(predict, scene, tmp_path):
    """Formats of a folder; what each becomes is tested in test_image_files."""
    folder = tmp_path / 'in'
    folder.mkdir()
    image = Image.fromarray(scene)
    grey = image.convert('L')
    turned = Image.Exif()
    turned[0x0112] = 6
    for name in ('a.bmp', 'b.gif', 'c.jp2', 'd.ppm', 'e.tga', 'f.webp'):
        image.save(folder / name)
    grey.save(folder / 'grey.png')
    grey.convert('1').save(folder / 'bits.png')
    image.convert('RGBA').save(folder / 'alpha.png')
    grey.convert('LA').save(folder / 'grey_alpha.png')
    image.quantize(16).save(folder / 'palette.png')
    image.convert('CMYK').save(folder / 'cmyk.jpg')
    image.convert('CMYK').save(folder / 'cmyk.tif')
    image.save(folder / 'turned.jpg', exif=turned)
    deep = scene.astype(np.uint16) * 257
    cv2.imwrite(str(folder / 'deep.png'), deep[..., ::-1])
    cv2.imwrite(str(folder / 'deep.tiff'), deep[..., ::-1])
    Image.fromarray(deep[..., 0]).save(folder / 'deep_grey.png')
    status, printed, error = predict(folder, '--json', '--batch-size', 4)
    assert (status, error) == (0, '')
    records = {
        os.path.basename(record['image']): record
        for record in lines_of(printed)
    }
    assert set(records) == set(os.listdir(folder))
    for name, record in records.items():
        size = record['width'], record['height']
        assert size == ((48, 64) if name == 'turned.jpg' else (64, 48))
        with Image.open(record['files']['labels']) as labels:
            assert labels.size == size
    same = records['a.bmp']['shares']
    for name in ('alpha.png', 'deep.png', 'deep.tiff', 'd.ppm'):
        assert records[name]['shares'] == same


def test_folders_are_mirrored_and_continued(
    predict, scene, tmp_path, monkeypatch
):
    for name in ('a/1.png', 'a/b/1.png', '2.png'):
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene).save(path)
    (tmp_path / 'in' / 'a' / 'bad.png').write_text('a text')
    # Results inside of the searched folder are no images.
    options = ('in', '--out', 'in/out', '--save', 'labels,masks,geojson')
    status, printed, error = predict(*options, '--workers', 1)
    assert status == 1
    (line,) = error.splitlines()
    assert line.startswith('error: in/a/bad.png cannot be read')
    out = tmp_path / 'in' / 'out'
    labels = [out / f'{name}_labels.png' for name in ('a/1', 'a/b/1', '2')]
    for file in labels:
        assert file.is_file() and str(file.relative_to(tmp_path)) in printed
    assert (out / 'a' / '1_masks').is_dir()
    text = (out / 'results.jsonl').read_text()
    records = {record['image']: record for record in lines_of(text)}
    assert 'error' in records.pop('in/a/bad.png')
    assert len(records) == 3
    for record in records.values():
        assert set(record['files']) == {'labels', 'masks', 'geojson'}
        assert sum(record['shares'].values()) == pytest.approx(1, abs=1e-5)
    # The second run makes what is missing or older than its image.
    labels[0].unlink()
    later = labels[1].stat().st_mtime + 5
    os.utime(tmp_path / 'in' / 'a' / 'b' / '1.png', (later, later))
    before = labels[2].stat().st_mtime_ns
    made = []
    real = FileSegmenter._save
    monkeypatch.setattr(
        FileSegmenter,
        '_save',
        lambda self, job, *args: (
            made.append(job.name) or real(self, job, *args)
        ),
    )
    status, _, error = predict(*options, '--skip-existing')
    assert status == 1 and '1 of 4 images are done' in error
    assert sorted(made) == ['a/1', 'a/b/1']
    assert labels[0].is_file() and labels[2].stat().st_mtime_ns == before
    assert len(lines_of((out / 'results.jsonl').read_text())) == 4
    status, _, error = predict(*options, '--skip-existing', '--amp')
    assert (
        status == 2 and '(different: amp); leave out --skip-existing' in error
    )


def test_an_interrupted_run_keeps_what_is_done(
    predict, scene, tmp_path, monkeypatch
):
    (tmp_path / 'in').mkdir()
    for index in range(4):
        Image.fromarray(scene).save(tmp_path / 'in' / f'{index}.png')
    real = FileSegmenter._segment

    def interrupted(self, batch):
        if batch[0][0].name == '3':
            raise KeyboardInterrupt
        return real(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(FileSegmenter, '_segment', interrupted)
        status, _, error = predict('in', '--workers', 1)
    assert status == 130
    assert 'add --skip-existing to the same command' in error
    done = len(list((tmp_path / 'predictions').glob('*_overlay.png')))
    assert done >= 1
    status, printed, error = predict('in', '--skip-existing', '--json')
    assert status == 0
    left = len(lines_of(printed))
    assert f'{4 - left} of 4 images are done' in error and left < 4
    text = (tmp_path / 'predictions' / 'results.jsonl').read_text()
    assert len(lines_of(text)) == 4


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--save', 'label'], "did you mean 'labels'?"),
        (['--save', ','], '--save is empty'),
        (
            ['--batch-size', 0],
            '--batch-size 0 is too small; the least value is 1',
        ),
        (['--tile', 8], '--tile 8 is too small; the least value is 32'),
        (['--launcher', 'pytorch'], 'start the command with torchrun'),
    ],
)
def test_bad_options(predict, scene, tmp_path, arguments, words):
    Image.fromarray(scene).save(tmp_path / 'a.png')
    status, _, error = predict('a.png', *arguments)
    assert status == 2 and words in error


def test_background(predict, model, scene, tmp_path):
    """Pixels of the ground, which no class names, get no label."""
    Image.fromarray(scene).save(tmp_path / 'a.png')
    classes = ['plain red', 'striped blue']

    def shares(*options) -> dict:
        status, printed, error = predict(
            'a.png', '--json', *options, classes=classes
        )
        assert status == 0, error
        return lines_of(printed)[0]['shares']

    found = shares('--background', 'stone; sand', 'grass', 'water')
    assert 0 < sum(found.values()) < 0.5
    assert sum(shares('--background', 'none').values()) == pytest.approx(1)
    best = model(scene, classes, scores='all').scores.max(axis=0)
    middle = str(np.median(best))
    found = shares('--background', 'threshold', '--score-threshold', middle)
    assert 0.4 < sum(found.values()) < 0.6
    status, _, error = predict('a.png', '--background', 'treshold')
    assert status == 2 and 'threshold' in error


def test_gpkg_of_a_plain_image(predict, scene, tmp_path):
    Image.fromarray(scene).save(tmp_path / 'a.png')
    status, _, error = predict('a.png', '--save', 'labels,gpkg')
    assert status == 2 and "'gpkg' cannot be saved" in error


def test_rasters_and_windows(predict, scene, tmp_path):
    rasterio = pytest.importorskip('rasterio')
    with rasterio.open(
        tmp_path / 'field.tif',
        'w',
        driver='GTiff',
        width=64,
        height=48,
        count=3,
        dtype='uint8',
        crs='EPSG:32632',
        transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6),
    ) as file:
        file.write(scene.transpose(2, 0, 1))
    Image.fromarray(scene).save(tmp_path / 'plain.png')
    status, printed, _ = predict('field.tif', 'plain.png', '--json')
    assert status == 0
    field, plain = lines_of(printed)
    assert field['files']['labels'] == 'predictions/field_labels.tif'
    assert plain['files']['labels'] == 'predictions/plain_labels.png'
    assert field['shares'] == plain['shares']
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        status, printed, _ = predict(
            *('plain.png', '--tile', 32, '--json', '--save', 'labels,gpkg')
        )
    (record,) = lines_of(printed)
    assert status == 0 and record['files']['labels'].endswith('.tif')
    status, _, error = predict('field.tif', '--save', 'masks')
    assert status == 2 and 'masks cannot be saved for a raster' in error


@pytest.mark.parametrize('limit', ['ovseg_mm.apis.files.LARGEST', BOMB])
def test_large_images_are_read_in_windows(
    predict, scene, tmp_path, monkeypatch, limit
):
    pytest.importorskip('rasterio')
    Image.fromarray(scene).save(tmp_path / 'large.png')
    monkeypatch.setattr(limit, 1000)
    status, printed, error = predict('large.png')
    assert (status, error) == (0, '')
    assert 'predictions/large_labels.tif' in printed


def test_a_georeferenced_image_needs_no_extra(
    predict, scene, tmp_path, monkeypatch
):
    scale = TiffImagePlugin.ImageFileDirectory_v2()
    scale[33550] = (1.0, 1.0, 0.0)
    Image.fromarray(scene).save(tmp_path / 'a.tif', tiffinfo=scale)
    monkeypatch.setattr('ovseg_mm.apis.files.find_spec', lambda name: None)
    with pytest.warns(UserWarning, match='is georeferenced, but its results '):
        status, _, _ = predict('a.tif')
    assert status == 0
    assert (tmp_path / 'predictions' / 'a_labels.png').is_file()


@pytest.mark.parametrize('suffix, codec', [('avi', 'MJPG'), ('mp4', 'mp4v')])
def test_video(predict, scene, model, tmp_path, suffix, codec):
    path = tmp_path / f'clip.{suffix}'
    file = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*codec), 5, (64, 48)
    )
    frames = [np.roll(scene, 4 * i, axis=1) for i in range(5)]
    for frame in frames:
        file.write(frame[..., ::-1].copy())
    file.release()
    status, printed, error = predict(path, '--batch-size', 2, '--json')
    assert (status, error) == (0, '')
    (record,) = lines_of(printed)
    assert record['frames'] == 5
    assert (record['width'], record['height']) == (64, 48)
    with open(record['files']['shares']) as lines:
        shares = lines_of(lines.read())
    assert [line['frame'] for line in shares] == [0, 1, 2, 3, 4]
    assert shares[1]['time'] == 0.2
    expected = model(frames[3], WORDS).shares()
    best = max(expected, key=expected.get)
    assert shares[3]['shares'][best] == pytest.approx(expected[best], abs=0.1)
    drawn = cv2.VideoCapture(record['files']['overlay'])
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert drawn.get(cv2.CAP_PROP_FPS) == 5
    # Frames are enlarged for the legend below them.
    assert drawn.get(cv2.CAP_PROP_FRAME_WIDTH) >= 256
    drawn.release()
    _, printed, error = predict(path, '--json', '--skip-existing')
    assert printed == '' and '1 of 1 images are done' in error
    names = {file.name for file in (tmp_path / 'predictions').iterdir()}
    assert names == {
        *(f'clip_overlay.{suffix}', 'clip_shares.jsonl', 'classes.json'),
        *('results.jsonl', 'results_settings.json'),
    }


@pytest.mark.slow
def test_two_processes_share_a_folder(scene, tmp_path):
    (tmp_path / 'in').mkdir()
    for index in range(3):
        Image.fromarray(scene).save(tmp_path / 'in' / f'{index}.png')
    (tmp_path / 'in' / '3.png').write_text('a text')
    output = run_two_ranks(
        *('ovseg_mm', 'predict', 'in', '--model', 'toy', '--classes'),
        *('plain red;water', '--launcher', 'pytorch'),
        cwd=tmp_path,
        status=1,
    )
    assert 'error: in/3.png cannot be read' in output
    out = tmp_path / 'predictions'
    text = (out / 'results.jsonl').read_text()
    records = lines_of(text)
    assert [record['image'] for record in records] == [
        f'in/{index}.png' for index in range(4)
    ]
    assert len(list(out.glob('*_overlay.png'))) == 3
    assert not list(out.glob('results_0*'))


def test_damaged_video(predict, tmp_path):
    (tmp_path / 'clip.mp4').write_text('a text')
    status, _, error = predict('clip.mp4')
    assert status == 2
    assert 'error: clip.mp4 cannot be read as a video' in error
    assert not list((tmp_path / 'predictions').glob('clip*'))
    shutil.rmtree(tmp_path / 'predictions')
