# SPDX-License-Identifier: Apache-2.0
import io
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import (
    decode_image,
    image_size,
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
    with pytest.raises(
        ValueError, match='32 bits.*convert the image'
    ) as error:
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


def oriented(path, pixels, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    if path.suffix == '.tif':
        options.update(tiffinfo={0x0112: orientation})
    Image.fromarray(pixels).save(path, exif=exif, **options)


# How the EXIF standard has an image with each orientation shown.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.webp'])
@pytest.mark.parametrize('orientation', UPRIGHT)
def test_exif_orientation_is_applied_or_not(tmp_path, suffix, orientation):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    path = tmp_path / f'a{suffix}'
    options = dict(lossless=True) if suffix == '.webp' else {}
    oriented(path, pixels, orientation, **options)
    upright = UPRIGHT[orientation](pixels)
    np.testing.assert_array_equal(read_image(path), upright)
    if suffix != '.tif':  # which OpenCV does not turn
        read = cv2.imread(str(path))[..., ::-1]
        np.testing.assert_array_equal(read, upright)
    np.testing.assert_array_equal(read_image(path, turn=False), pixels)
    assert image_size(path) == ((4, 6), orientation)
    content = path.read_bytes()
    assert decode_image(content, 'a')[1] == orientation


def test_damaged_exif_data_leave_a_sound_image_readable(tmp_path):
    path = tmp_path / 'a.jpg'
    pixels = np.full((4, 6, 3), 90, np.uint8)
    Image.fromarray(pixels).save(path, exif=b'Exif\0\0nonsense' * 3)
    assert read_image(path).shape == (4, 6, 3)
    assert image_size(path) == ((4, 6), 1)


def formats(folder):
    """Files of every kind, and the RGB pixels that each stands for."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (6, 8, 3), np.uint8)
    grey, alpha = rgb[..., 0], rgb[..., 1]
    deep = rng.integers(0, 65536, (6, 8, 3), np.uint16)
    as_rgb = np.repeat(grey[..., None], 3, axis=2)
    deep_grey = np.repeat(deep[..., :1] >> 8, 3, axis=2)

    def save(name, pixels, **options):
        Image.fromarray(pixels).save(folder / name, **options)
        return folder / name

    def save_by_opencv(name, pixels):
        cv2.imwrite(str(folder / name), pixels[..., ::-1])
        return folder / name

    yield save('grey.png', grey), as_rgb
    yield save('grey_alpha.png', np.dstack([grey, alpha])), as_rgb
    yield save('rgb.png', rgb), rgb
    yield save('rgba.png', np.dstack([rgb, alpha])), rgb
    yield save('rgba.tif', np.dstack([rgb, alpha])), rgb
    yield save('rgb.bmp', rgb), rgb
    yield save('one_bit.png', grey > 100), np.where(as_rgb > 100, 255, 0)
    indexed = Image.fromarray(grey % 4).convert('P')
    colours = rng.integers(0, 255, (4, 3), np.uint8)
    indexed.putpalette(colours.tobytes())
    indexed.save(folder / 'indexed.png', transparency=1)
    yield folder / 'indexed.png', colours[grey % 4]
    yield save('deep_grey.png', deep[..., 0]), deep_grey
    yield save('deep_grey.tif', deep[..., 0]), deep_grey
    yield save_by_opencv('deep.png', deep), deep >> 8
    yield save_by_opencv('deep.tif', deep), deep >> 8
    pages = [Image.fromarray(page) for page in (rgb, 255 - rgb)]
    pages[0].save(folder / 'pages.tif', save_all=True, append_images=pages[1:])
    yield folder / 'pages.tif', rgb
    cmyk = Image.new('CMYK', (16, 16), (255, 0, 0, 0))
    cmyk.save(folder / 'cmyk.jpg', quality=100)
    yield folder / 'cmyk.jpg', np.full((16, 16, 3), (0, 255, 255))


def test_every_format_by_one_rule(tmp_path):
    for path, expected in formats(tmp_path):
        read = read_image(path)
        assert read.dtype == np.uint8 and read.shape == expected.shape, path
        difference = abs(read.astype(int) - expected).max()
        assert difference <= (2 if path.suffix == '.jpg' else 0), path


def test_ordinary_jpegs_are_read_as_opencv_reads_them(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (9, 11, 3), np.uint8)
    image = Image.fromarray(pixels).resize((61, 43))
    for subsampling in (0, 1, 2):
        path = tmp_path / f'{subsampling}.jpg'
        image.save(path, subsampling=subsampling)
        np.testing.assert_array_equal(
            read_image(path), cv2.imread(str(path))[..., ::-1]
        )


def refused(path, message):
    with pytest.raises(InputError, match=message) as error:
        read_label_map(str(path))
    assert str(path) in str(error.value)


def test_label_files_that_cannot_be_trusted_are_refused(tmp_path):
    labels = np.array([[0, 1], [1, 2]], np.uint8)
    Image.fromarray(labels).save(tmp_path / 'a.jpg', quality=100)
    refused(tmp_path / 'a.jpg', 'is a JPEG, .* save the labels as PNG')
    pages = Image.fromarray(labels)
    pages.save(tmp_path / 'a.tif', save_all=True, append_images=[pages])
    refused(tmp_path / 'a.tif', 'has 2 pages')
    for suffix in ('.png', '.tif'):
        oriented(tmp_path / f'turned{suffix}', labels, 3)
        refused(tmp_path / f'turned{suffix}', r'EXIF orientation 3 \(turned')
    colours = np.dstack([labels, labels * 2, labels])
    Image.fromarray(colours).save(tmp_path / 'colours.png')
    refused(tmp_path / 'colours.png', 'replace each colour by its label')
    Image.fromarray(np.dstack([labels] * 3)).save(tmp_path / 'equal.png')
    refused(tmp_path / 'equal.png', 'channels are equal: save one of them')


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_labels_of_few_bits_keep_their_values(tmp_path, bits):
    labels = (np.arange(16).reshape(4, 4) % 2**bits).astype(np.uint8)
    # Each value as its bits, eight of which make a byte.
    digits = np.unpackbits(labels[..., None], axis=2)[..., 8 - bits :]
    packed = np.packbits(digits.reshape(4, -1), axis=1)
    write_png(tmp_path / 'a.png', packed, 4, bits)
    read = read_label_map(str(tmp_path / 'a.png'))
    np.testing.assert_array_equal(read, labels)


def write_png(path, packed, width, bits):
    """Write a grey PNG of few bits, which Pillow cannot."""

    def chunk(kind, body):
        checksum = zlib.crc32(kind + body)
        return (
            struct.pack('>I', len(body))
            + kind
            + body
            + struct.pack('>I', checksum)
        )

    header = struct.pack('>IIBBBBB', width, len(packed), bits, 0, 0, 0, 0)
    body = b''.join(b'\0' + row.tobytes() for row in packed)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(body))
        + chunk(b'IEND', b'')
    )


def test_empty_file_says_so(tmp_path):
    path = tmp_path / 'a.jpg'
    path.write_bytes(b'')
    with pytest.raises(
        InputError, match=r'image, because it is empty \(0 bytes\)'
    ):
        read_image(path)


def test_heic_needs_a_library(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'pillow_heif', None)
        with pytest.raises(
            InputError, match='a.heic is a HEIC file; run pip install'
        ):
            decode_image(b'\0\0\0\x18ftypheic\0\0\0\0', 'a.heic')
    pillow_heif = pytest.importorskip('pillow_heif')
    pixels = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(file)
    decoded, orientation = decode_image(file.getvalue(), 'a.heic')
    assert orientation == 1 and abs(decoded.astype(int) - pixels).max() < 20
