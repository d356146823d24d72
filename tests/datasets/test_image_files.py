# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from PIL import Image

from ovseg_mm.datasets import (
    read_image,
    read_label_map,
    write_image,
    write_label_map,
)


def test_16_bit_values_survive_png_and_tiff(tmp_path):
    values = np.array([[0, 255, 256], [300, 846, 65535]], dtype=np.uint16)
    for name in ('a.png', 'a.tif'):
        Image.fromarray(values).save(tmp_path / name)
        read = read_label_map(str(tmp_path / name))
        assert read.dtype == np.int32
        np.testing.assert_array_equal(read, values)


def test_8_bit_and_palette_files_keep_their_values(tmp_path):
    values = np.array([[0, 7, 255]], dtype=np.uint8)
    grey = Image.fromarray(values)
    grey.save(tmp_path / 'grey.png')
    indexed = grey.copy()
    indexed.putpalette([i // 3 for i in range(768)][::-1])
    indexed.save(tmp_path / 'indexed.png')
    for name in ('grey.png', 'indexed.png'):
        read = read_label_map(str(tmp_path / name))
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, values)
    Image.fromarray(values > 0).save(tmp_path / 'binary.png')
    read = read_label_map(str(tmp_path / 'binary.png'))
    np.testing.assert_array_equal(read, [[0, 1, 1]])


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA', 'F'])
def test_pictures_are_no_label_maps(tmp_path, mode):
    path = tmp_path / 'a.tif'
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(ValueError, match='expected one channel') as error:
        read_label_map(str(path))
    assert str(path) in str(error.value)


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / 'a.png'
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for content in (whole[:1500], whole[:20], b'', b'text'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='cannot be read') as error:
            read_label_map(str(path))
        assert str(path) in str(error.value)
        assert '0x' not in str(error.value)
    with pytest.raises(FileNotFoundError, match='none.png'):
        read_label_map(str(tmp_path / 'none.png'))


@pytest.mark.parametrize(
    ('num_values', 'dtype'), [(256, np.uint8), (257, np.uint16)]
)
def test_written_label_maps_read_back(tmp_path, num_values, dtype):
    labels = np.array([[0, 3], [num_values - 1, 1]])
    path = tmp_path / 'sub' / 'a.png'
    write_label_map(path, labels, num_values)
    assert np.array(Image.open(path)).dtype == dtype
    np.testing.assert_array_equal(read_label_map(str(path)), labels)


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.png'
    write_image(path, np.zeros((2, 2), np.uint8))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_image(path, np.zeros((2, 2), np.complex64))
    assert path.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ['a.png']


def test_pictures_of_every_mode_become_rgb(tmp_path):
    grey = np.random.default_rng(0).integers(0, 255, (8, 9), np.uint8)
    for mode in ('L', 'P', 'RGB', 'RGBA', 'CMYK'):
        path = tmp_path / f'{mode}.tif'
        Image.fromarray(grey).convert(mode).save(path)
        read = read_image(path)
        assert read.dtype == np.uint8 and read.shape == (8, 9, 3)
        assert abs(read.astype(int) - grey[..., None]).max() <= 1, mode


@pytest.mark.parametrize('suffix', ['png', 'tif'])
def test_grey_of_16_bits_keeps_its_shades(tmp_path, suffix):
    shades = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(shades).save(path)
    read = read_image(path)
    np.testing.assert_array_equal(read[..., 1], shades >> 8)
    # What MMSegmentation's pipelines read by default is the same.
    np.testing.assert_array_equal(read, cv2.imread(str(path)))


@pytest.mark.parametrize('dtype', [np.int32, np.float32])
def test_pictures_of_unknown_range_are_refused(tmp_path, dtype):
    path = tmp_path / 'a.tif'
    Image.fromarray(np.full((4, 5), 7, dtype)).save(path)
    with pytest.raises(ValueError, match='32 bits.*convert it') as error:
        read_image(path)
    assert str(path) in str(error.value)


def test_damaged_pictures_are_named(tmp_path):
    path = tmp_path / 'a.jpg'
    for content in (b'', b'text', b'\xff\xd8\xff\xe0'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match='cannot be read') as error:
            read_image(path)
        assert str(path) in str(error.value)
        assert '0x' not in str(error.value)
