# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from ovseg_mm.datasets import CropCaptionDataset
from ovseg_mm.datasets.preparation import CropCaptions, main
from ovseg_mm.datasets.preparation.crop_captions import masked_crop
from ovseg_mm.utils.clip_statistics import CLIP_MEAN_COLOUR
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import resource
from ovseg_mm.vocabulary import load_vocabulary

NAMES = load_vocabulary('coco').names
PIPELINE = [
    dict(type='LoadCropCaption'),
    dict(type='PackCropCaption', size=32),
]


@pytest.fixture(autouse=True)
def mmseg_scope():
    init_default_scope('mmseg')


@pytest.fixture
def coco(tmp_path):
    """Two images of COCO-Stuff with the labels 3, 7 and 255."""
    rng = np.random.default_rng(0)
    for folder in ('images/train2017', 'annotations/train2017'):
        (tmp_path / folder).mkdir(parents=True)
    labels = np.full((60, 80), 255, np.uint8)
    labels[10:30, 5:45] = 3
    labels[40:, 60:] = 7
    labels[0, :5] = 9  # too few pixels for a crop
    for name in ('000000000009', '000000000025'):
        pixels = rng.integers(0, 100, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(
            tmp_path / f'images/train2017/{name}.jpg', quality=100
        )
        Image.fromarray(labels).save(
            tmp_path / f'annotations/train2017/{name}_labelTrainIds.png'
        )
    return tmp_path


def prepare(root, *arguments):
    return main(CropCaptions(), [str(root), '--workers', '1', *arguments])


@pytest.fixture
def prepared(coco):
    assert prepare(coco) == 0
    return coco


def dataset(root, pipeline=PIPELINE, **options):
    options = {'ann_file': 'masked_crops/coco.tsv', **options}
    options['data_root'] = root
    return CropCaptionDataset(pipeline=pipeline, **options)


def test_crops_of_label_maps(prepared):
    pairs = dataset(prepared, [])
    assert [pair['caption'] for pair in pairs] == [NAMES[3], NAMES[7]] * 2
    crop = np.array(Image.open(pairs[0]['crop_path']))
    image = np.array(Image.open(pairs[0]['img_path']))
    assert np.array_equal(crop, image[10:30, 5:45])
    assert pairs[3]['img_path'].endswith('images/train2017/000000000025.jpg')
    # Nothing is made twice.
    table = prepared / 'masked_crops' / 'coco.tsv'
    before = table.read_text()
    assert prepare(prepared) == 0 and table.read_text() == before


def test_what_is_not_in_the_mask_is_filled():
    pixels = np.full((9, 9, 3), 7, np.uint8)
    mask = np.zeros((9, 9), bool)
    mask[2, 3:6] = mask[4, 5] = True
    crop = masked_crop(pixels, mask)
    assert crop.shape == (3, 3, 3) and crop.dtype == np.uint8
    assert np.array_equal((crop == 7).all(axis=2), mask[2:5, 3:6])
    assert np.array_equal(
        (crop == CLIP_MEAN_COLOUR).all(axis=2), ~mask[2:5, 3:6]
    )


def test_samples(prepared):
    sample = dataset(prepared)[1]
    assert sample['captions'] == NAMES[7]
    for key in ('crops', 'images'):
        assert sample[key].shape == (3, 32, 32)
        assert sample[key].dtype == torch.uint8
    assert sample['masks'].dtype == torch.bool and sample['masks'].all()


def test_mask_is_where_the_crop_is_not_filled(prepared):
    pair = dataset(prepared, [])[0]
    crop = np.full((32, 32, 3), CLIP_MEAN_COLOUR, np.uint8)
    crop[4:9, 10:20] = 50
    Image.fromarray(crop).save(pair['crop_path'])
    sample = dataset(prepared)[0]
    assert np.array_equal(sample['crops'], crop.transpose(2, 0, 1))
    assert np.array_equal(sample['masks'], (crop == 50).all(axis=2))


def test_tests_keep_the_aspect_ratio_as_clip_does(prepared):
    """The shorter side is resized, the centre of the longer one is kept."""
    pair = dataset(prepared, [])[0]
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 200
    Image.fromarray(pixels).save(pair['crop_path'])
    sample = dataset(prepared)[0]
    crop = Image.fromarray(pixels).resize((96, 32), Image.BICUBIC)
    expected = np.asarray(crop)[:, 32:64].transpose(2, 0, 1)
    assert np.array_equal(sample['crops'], expected)
    assert sample['crops'].min() > 150  # the middle third alone
    # The whole image is squeezed.
    with Image.open(pair['img_path']) as image:
        image = image.convert('RGB').resize((32, 32), Image.BILINEAR)
    expected = np.asarray(image).transpose(2, 0, 1)
    assert np.array_equal(sample['images'], expected)


def test_crops_of_ade20k_have_the_words_they_are_tested_with(tmp_path):
    labels = np.full((40, 40), 9, np.uint8)  # windowpane of ade150
    for folder in ('images', 'annotations'):
        (tmp_path / folder / 'validation').mkdir(parents=True)
    image = tmp_path / 'images/validation/ADE_val_00000001.jpg'
    Image.new('RGB', (40, 40)).save(image)
    Image.fromarray(labels).save(
        tmp_path / 'annotations/validation/ADE_val_00000001.png'
    )
    assert prepare(tmp_path, '--source', 'ade150') == 0
    (pair,) = dataset(tmp_path, [], ann_file='masked_crops/ade150.tsv')
    config = Config.fromfile(
        resource('configs', '_base_', 'models', 'scan-clip_vit-l14.py')
    )
    vocabulary = load_vocabulary(config.model.vocabulary)
    assert pair['caption'] == vocabulary.names[8] == 'window'
    assert tuple(vocabulary.class_texts[6]) == ('road', 'route')
    assert config.model.prompts.synonyms == 'whole'


def test_random_parts_repeat_with_the_seed(prepared):
    pack = dict(type='PackCropCaption', size=32, scale=(0.2, 0.5))
    pairs = dataset(prepared, [PIPELINE[0], pack])
    torch.manual_seed(0)
    first, second = pairs[0]['crops'], pairs[0]['crops']
    torch.manual_seed(0)
    assert torch.equal(pairs[0]['crops'], first)
    assert not torch.equal(first, second)


def test_table_of_the_authors(prepared):
    """Two columns; the names of the crops tell the image."""
    table = prepared / 'theirs.tsv'
    table.write_text('filepath\ttitle\ncrops/000000000009_13.png\ta dog\n')
    (pair,) = CropCaptionDataset(
        'theirs.tsv', [], prepared, image_folder='images/train2017'
    )
    assert pair['caption'] == 'a dog'
    assert pair['crop_path'] == f'{prepared}/crops/000000000009_13.png'
    assert pair['img_path'] == f'{prepared}/images/train2017/000000000009.jpg'
    with pytest.raises(ValueError, match='has no column image; expected'):
        CropCaptionDataset('theirs.tsv', [], prepared)


def test_bad_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match='crop_captions.py'):
        CropCaptionDataset('gone.tsv', [], tmp_path)
    (tmp_path / 'empty.tsv').write_text('filepath\ttitle\timage\n')
    with pytest.raises(ValueError, match='has no rows'):
        CropCaptionDataset('empty.tsv', [], tmp_path)


def test_missing_pictures(prepared):
    pairs = dataset(prepared)
    image = prepared / 'images/train2017/000000000009.jpg'
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(InputError, match='000000000009.jpg cannot be read'):
        pairs[0]
    image.unlink()
    with pytest.raises(FileNotFoundError, match='000000000009.jpg'):
        pairs[0]


def test_command_without_its_data(tmp_path, capsys):
    assert prepare(tmp_path) == 2
    assert 'annotations/train2017 is missing' in capsys.readouterr().err
    assert prepare(tmp_path, '--verify') == 2
    assert 'masked crops cannot be verified' in capsys.readouterr().err


def test_labels_of_another_size(coco, capsys):
    path = coco / 'images/train2017/000000000009.jpg'
    Image.new('RGB', (20, 20)).save(path)
    assert prepare(coco) == 1
    assert '20x20' in capsys.readouterr().err
    assert not (coco / 'masked_crops' / 'coco.tsv').exists()
