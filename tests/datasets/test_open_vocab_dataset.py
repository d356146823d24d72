# SPDX-License-Identifier: Apache-2.0
import os.path as osp

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import resource

WORDS = ['cat', 'dog', 'sky']
PIPELINE = [
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='LoadOpenVocabAnnotations'),
    dict(type='PackSegInputs'),
]


@pytest.fixture(autouse=True)
def mmseg_scope():
    init_default_scope('mmseg')


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def picture(height=8, width=10, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    for index, name in enumerate(['b', 'a', 'sub/a']):
        save(tmp_path / 'images' / f'{name}.jpg', picture(seed=index))
        labels = np.full((8, 10), index, dtype=np.uint8)
        labels[0] = 255
        save(tmp_path / 'labels' / f'{name}.png', labels)
    return tmp_path


def make(root, **kwargs):
    kwargs.setdefault('vocabulary', WORDS)
    kwargs.setdefault('pipeline', PIPELINE)
    kwargs.setdefault(
        'data_prefix', dict(img_path='images', seg_map_path='labels')
    )
    return OpenVocabDataset(data_root=str(root), **kwargs)


def test_folders_and_words_make_a_data_set(root):
    dataset = make(root, vocabulary=dict(class_texts=WORDS, unseen=['dog']))
    assert dataset.metainfo['classes'] == WORDS
    assert dataset.metainfo['unseen'] == [1]
    assert len(dataset.metainfo['palette']) == 3
    assert dataset.ignore_index == 255
    names = []
    for data, label in zip(dataset, [1, 0, 2], strict=True):
        sample = data['data_samples']
        names.append(sample.sample_name)
        assert data['inputs'].shape == (3, 8, 10)
        assert sample.gt_sem_seg.data.unique().tolist() == [label, 255]
    assert names == ['a', 'b', 'sub__a']


def test_labels_beyond_255(tmp_path):
    save(tmp_path / 'images' / 'x.jpg', picture())
    labels = np.full((8, 10), 255, dtype=np.uint16)
    labels[0], labels[1] = 299, 65535
    save(tmp_path / 'labels' / 'x.tif', labels)
    dataset = make(
        tmp_path,
        vocabulary=[f'word {i}' for i in range(300)],
        seg_map_suffix='.tif',
    )
    assert dataset.ignore_index == 65535
    found = dataset[0]['data_samples'].gt_sem_seg.data.unique().tolist()
    assert found == [255, 299, 65535]
    # 255 is a class: labels are padded with the value to be ignored.
    pad = dict(type='Pad', size=(30, 20), pad_val=dict(img=0, seg=255))
    dataset = make(
        tmp_path,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadOpenVocabAnnotations'),
            dict(type='RandomCrop', crop_size=(8, 10), cat_max_ratio=0.99),
            dict(type='RandomChoice', transforms=[[pad]]),
            dict(type='PackSegInputs'),
        ],
        vocabulary=[f'word {i}' for i in range(300)],
        seg_map_suffix='.tif',
    )
    padded = dataset[0]['data_samples'].gt_sem_seg.data
    assert padded.shape == (1, 20, 30)
    assert (padded == 255).sum() == 6 * 10
    assert (padded == 65535).sum() == 600 - 7 * 10
    assert dataset.pipeline.transforms[2].ignore_index == 65535


def test_list_file_and_missing_labels(root):
    (root / 'val.txt').write_text('sub/a\n')
    dataset = make(root, ann_file='val.txt')
    assert [data['data_samples'].sample_name for data in dataset] == ['sub__a']
    for prefix in (
        dict(img_path='images'),
        dict(img_path='images', seg_map_path=None),
    ):
        unlabelled = make(root, data_prefix=prefix, test_mode=True)
        assert len(unlabelled) == 3
        assert 'gt_sem_seg' not in unlabelled[0]['data_samples']


def test_zero_label_is_reduced(root):
    dataset = make(root, reduce_zero_label=True)
    found = [
        data['data_samples'].gt_sem_seg.data.unique().tolist()
        for data in dataset
    ]
    assert found == [[0, 255], [255], [1, 255]]


def test_what_is_missing_is_named(root):
    def fails(message, **kwargs):
        with pytest.raises(FileNotFoundError, match=message):
            make(root, **kwargs)

    fails('folder of images .*nowhere', data_prefix=dict(img_path='nowhere'))
    fails(
        'folder of labels .*nowhere',
        data_prefix=dict(img_path='images', seg_map_path='nowhere'),
    )
    fails(r"ends in '.png' \(found: 3 .jpg\)", img_suffix='.png')
    fails(r'the file .*labels/a.tif of the data set', seg_map_suffix='.tif')
    fails('list of samples .*val.txt does not exist', ann_file='val.txt')
    (root / 'val.txt').write_text('')
    fails('list of samples .*val.txt is empty', ann_file='val.txt')
    (root / 'val.txt').write_text('nobody\n')
    fails(r'the file .*nobody \(.bmp, .jpeg', ann_file='val.txt')
    fails('file .*nobody.jpg of', ann_file='val.txt', img_suffix='.jpg')
    # Any file may be the one that is missing.
    last = sorted((root / 'labels').rglob('*.png'))[-1]
    last.unlink()
    fails(f'the file .*{last.name} of the data set does not exist')


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
@pytest.mark.parametrize('test_mode', [False, True])
def test_damaged_image_is_named(root, backend, test_mode):
    dataset = make(root, test_mode=test_mode)
    dataset.pipeline.transforms[0].imdecode_backend = backend
    path = root / 'images' / 'a.jpg'
    whole = path.read_bytes()
    for content in (b'', b'no image', whole[:100]):
        path.write_bytes(content)
        with pytest.raises(Exception, match=str(path)):
            dataset[0]
    path.unlink()
    with pytest.raises(FileNotFoundError, match=str(path)):
        dataset[0]


def test_label_that_is_no_class_is_named(root):
    path = root / 'labels' / 'sub' / 'a.png'
    with pytest.raises(ValueError, match='holds the label values 2,') as error:
        make(root, vocabulary=WORDS[:2])
    assert str(path) in str(error.value)


BENCHMARKS = {
    'coco-stuff164k': (
        'coco_stuff164k/images/{}2017/x.jpg',
        'coco_stuff164k/annotations/{}2017/x_labelTrainIds.png',
        171,
    ),
    'ade20k': (
        'ade/ADEChallengeData2016/images/{}/x.jpg',
        'ade/ADEChallengeData2016/annotations/{}/x.png',
        150,
    ),
    'pascal_context_59': (
        'VOCdevkit/VOC2010/JPEGImages/x.jpg',
        'VOCdevkit/VOC2010/SegmentationClassContext/x.png',
        59,
    ),
}


@pytest.mark.parametrize('name', BENCHMARKS)
def test_shipped_data_sets_in_their_folders(tmp_path, monkeypatch, name):
    image, labels, num_labels = BENCHMARKS[name]
    split = 'val' if name.startswith('coco') else 'validation'
    first = 0 if name.startswith('coco') else 1
    values = np.full((300, 900), first, dtype=np.uint8)
    values[0] = 255 if first == 0 else 0
    values[1] = num_labels - 1 + first
    save(tmp_path / 'data' / image.format(split), picture(300, 900))
    save(tmp_path / 'data' / labels.format(split), values)
    if name.startswith('pascal'):
        lists = tmp_path / 'data/VOCdevkit/VOC2010/ImageSets'
        (lists / 'SegmentationContext').mkdir(parents=True)
        (lists / 'SegmentationContext' / 'val.txt').write_text('x\n')
    monkeypatch.chdir(tmp_path)
    (path,) = resource('configs', 'cat_seg').glob(
        f'catseg_clip-vit-b16_*_{name.replace("_", "-")}-???x???.py'
    )
    config = Config.fromfile(path)
    assert config.val_dataloader == config.test_dataloader
    dataset = DATASETS.build(config.test_dataloader.dataset)
    assert len(dataset.metainfo['classes']) == num_labels
    data = dataset[0]
    # short side 640: 300x900 grows to 640x1920
    assert data['inputs'].shape == (3, 640, 1920)
    truth = data['data_samples'].gt_sem_seg.data
    assert truth.shape == (1, 300, 900)
    assert truth.unique().tolist() == [0, num_labels - 1, 255]


def test_training_and_tta_pipelines(tmp_path, monkeypatch):
    image, labels, _ = BENCHMARKS['coco-stuff164k']
    save(tmp_path / 'data' / image.format('train'), picture(500, 430))
    values = np.arange(171, dtype=np.uint8).repeat(1300)[: 500 * 430]
    save(tmp_path / 'data' / labels.format('train'), values.reshape(500, 430))
    monkeypatch.chdir(tmp_path)
    config = Config.fromfile(
        resource('configs', '_base_', 'datasets', 'coco-stuff164k.py')
    )
    train = DATASETS.build(config.train_dataloader.dataset)
    data = train[0]
    assert data['inputs'].shape == (3, 384, 384)
    assert data['data_samples'].gt_sem_seg.data.shape == (1, 384, 384)
    train_config = config.train_dataloader.dataset
    train_config.pipeline = config.tta_pipeline
    data = DATASETS.build(train_config)[0]
    shapes = [tuple(view.shape[1:]) for view in data['inputs']]
    assert shapes == [
        shape
        for shape in [(558, 480), (744, 640), (930, 800)]
        for _ in range(2)
    ]
    assert {s.sample_name for s in data['data_samples']} == {'x'}


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
def test_deep_images_are_scaled_or_refused(tmp_path, backend):
    pixels = np.arange(8 * 10).reshape(8, 10) * 800
    save(tmp_path / 'images' / 'a.png', pixels.astype(np.uint16))
    save(tmp_path / 'images' / 'b.tif', pixels.astype(np.float32))
    pipeline = [
        dict(type='LoadImageFromFile', imdecode_backend=backend),
        dict(type='PackSegInputs'),
    ]

    def read(name):
        return make(
            tmp_path,
            data_prefix=dict(img_path='images'),
            img_suffix=name,
            pipeline=pipeline,
        )[0]['inputs'].numpy()

    np.testing.assert_array_equal(read('a.png')[0], pixels >> 8)
    with pytest.raises(InputError, match='b.tif has pixels of 32 bits'):
        read('b.tif')


def with_orientation(path, pixels, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif)


def oriented(root, orientation, label_shape=(8, 10)):
    """A data set of one image, stored 8x10, and its labels."""
    with_orientation(root / 'images' / 'a.png', picture(), orientation)
    save(root / 'labels' / 'a.png', np.zeros(label_shape, np.uint8))
    return dict(root=root, img_suffix='.png')


@pytest.fixture
def warned(monkeypatch):
    """Texts of the warnings of a data set."""
    texts = []
    monkeypatch.setattr(
        'ovseg_mm.datasets.transforms.loading.print_log',
        lambda text, *args: texts.append(text),
    )
    return texts


@pytest.mark.parametrize('orientation', [2, 3, 4])
def test_images_turned_by_exif_are_noticed(tmp_path, warned, orientation):
    source = oriented(tmp_path, orientation)
    dataset = make(**source)
    turned = dataset[0]['inputs'].numpy()
    dataset[0]
    assert len(warned) == 1, 'once'
    for part in (
        f'images/a.png has the EXIF orientation {orientation} (',
        'labels/a.png',
        "exif_orientation='apply'",
        "'ignore'",
    ):
        assert part in warned[0]
    warned.clear()
    # Both choices end the warning, and do what they say.
    applied = make(**source, exif_orientation='apply')[0]
    ignored = make(**source, exif_orientation='ignore')[0]
    np.testing.assert_array_equal(applied['inputs'], turned)
    stored = picture().transpose(2, 0, 1)[::-1]
    np.testing.assert_array_equal(ignored['inputs'], stored)
    assert (turned != stored).any()
    assert applied['data_samples'].exif_applied
    assert not ignored['data_samples'].exif_applied
    assert warned == []


def test_color_type_decides_on_exif_as_well(tmp_path, warned):
    load = dict(
        type='LoadImageFromFile', color_type='color_ignore_orientation'
    )
    dataset = make(**oriented(tmp_path, 3), pipeline=[load, *PIPELINE[1:]])
    stored = picture().transpose(2, 0, 1)[::-1]
    np.testing.assert_array_equal(dataset[0]['inputs'], stored)
    assert warned == []


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_quarter_turns_are_told_by_the_size(tmp_path, warned, orientation):
    drawn_on_stored = oriented(tmp_path / 'stored', orientation)
    with pytest.raises(InputError) as error:
        make(**drawn_on_stored)[0]
    message = str(error.value)
    assert f'EXIF orientation {orientation} (' in message
    assert "set exif_orientation='ignore'" in message
    data = make(**drawn_on_stored, exif_orientation='ignore')[0]
    assert data['inputs'].shape == (3, 8, 10)
    drawn_on_upright = oriented(tmp_path / 'upright', orientation, (10, 8))
    assert make(**drawn_on_upright)[0]['inputs'].shape == (3, 10, 8)
    with pytest.raises(InputError, match="exif_orientation='apply'"):
        make(**drawn_on_upright, exif_orientation='ignore')[0]
    assert warned == []


def test_other_sizes_do_not_blame_exif(tmp_path):
    with pytest.raises(InputError, match='5x4 pixels') as error:
        make(**oriented(tmp_path, 6, (4, 5)))[0]
    assert 'EXIF' not in str(error.value)


def test_exif_choice_is_checked(root):
    with pytest.raises(InputError, match="'apply', 'ignore' or None"):
        make(root, exif_orientation='auto')


def test_images_inside_of_other_transforms_are_read_by_the_rule(tmp_path):
    save(tmp_path / 'images' / 'a.png', np.full((8, 10), 25600, np.uint16))
    load = dict(type='LoadImageFromFile', imdecode_backend='pillow')
    dataset = make(
        tmp_path,
        data_prefix=dict(img_path='images'),
        img_suffix='.png',
        pipeline=[
            dict(type='RandomChoice', transforms=[[load]]),
            dict(type='PackSegInputs'),
        ],
    )
    assert dataset[0]['inputs'].unique().tolist() == [100]


def test_labels_without_an_image_are_named(root):
    (root / 'images' / 'sub' / 'a.jpg').unlink()
    with pytest.raises(FileNotFoundError) as error:
        make(root)
    label = root / 'labels' / 'sub' / 'a.png'
    assert f'1 label files have no image in {root / "images"}' in str(
        error.value
    )
    assert f'the first is {label}; ' in str(error.value)
    # A list says which samples are meant.
    (root / 'list.txt').write_text('a\n')
    assert len(make(root, ann_file='list.txt')) == 1
    # Other files may lie beside the labels.
    label.rename(label.with_suffix('.txt'))
    assert len(make(root)) == 2


def test_an_error_of_the_pipeline_is_no_bad_input(root, monkeypatch):
    def transform(self, results):
        raise AttributeError('a bug')

    dataset = make(root)
    monkeypatch.setattr(
        type(dataset.pipeline.transforms[1]), 'transform', transform
    )
    with pytest.raises(RuntimeError, match=r'a\.jpg \(AttributeError: a bug'):
        dataset[0]
    (root / 'images' / 'a.jpg').write_bytes(b'none')
    with pytest.raises(InputError, match='a.jpg cannot be read as an image'):
        dataset[0]


def mixed(root, *names):
    """Images and their labels, each label its number."""
    for index, name in enumerate(names):
        save(root / 'images' / name, picture(seed=index))
        labels = np.full((8, 10), index % 3, np.uint8)
        save((root / 'labels' / name).with_suffix('.png'), labels)
    return root


@pytest.mark.parametrize('labelled', [True, False])
def test_images_of_all_suffixes_and_cases_are_found(tmp_path, labelled):
    names = ['a.jpg', 'b.JPG', 'c.jpeg', 'd.png', 'e.TIFF', 'f.bmp', 'g.WebP']
    mixed(tmp_path, *names)
    (tmp_path / 'images' / 'notes.txt').write_text('x')
    (tmp_path / 'images' / '.hidden.jpg').write_text('x')
    prefix = dict(img_path='images')
    if labelled:
        prefix['seg_map_path'] = 'labels'
    dataset = make(tmp_path, data_prefix=prefix)
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [osp.basename(info['img_path']) for info in found] == names
    assert [info['sample_name'] for info in found] == list('abcdefg')
    if labelled:
        values = [dataset[i]['data_samples'].gt_sem_seg.data for i in range(3)]
        assert [int(value.unique()) for value in values] == [0, 1, 2]


def test_a_suffix_that_is_set_leaves_others_out_and_says_so(
    tmp_path, monkeypatch
):
    mixed(tmp_path, 'a.png', 'b.PNG', 'c.jpg')
    (tmp_path / 'labels' / 'c.png').unlink()
    texts = []
    monkeypatch.setattr(
        'ovseg_mm.datasets.sample_files.print_log',
        lambda text, *args: texts.append(text),
    )
    assert len(make(tmp_path, img_suffix='.png')) == 2
    (text,) = texts
    assert '1 images' in text and 'images/c.jpg' in text
    prefix = dict(img_path='images')
    both = make(tmp_path, img_suffix=['.png', '.jpg'], data_prefix=prefix)
    assert len(both) == 3


def test_two_images_for_one_label_are_refused(tmp_path):
    mixed(tmp_path, 'a.jpg', 'a.png', 'b.jpg')
    with pytest.raises(InputError, match=r'a\.jpg and .*a\.png both fit'):
        make(tmp_path)
    assert len(make(tmp_path, img_suffix='.jpg')) == 2
    # A list decides as well.
    (tmp_path / 'list.txt').write_text('b\na\n')
    with pytest.raises(InputError, match="both fit 'a'"):
        make(tmp_path, ann_file='list.txt')
    (tmp_path / 'list.txt').write_text('b\na.png\n')
    dataset = make(tmp_path, ann_file='list.txt')
    assert dataset.get_data_info(1)['img_path'].endswith('a.png')
    # Without labels both are samples, whose outputs differ.
    dataset = make(tmp_path, data_prefix=dict(img_path='images'))
    names = [data['data_samples'].sample_name for data in dataset]
    assert names == ['a', 'a-2', 'b']


def test_two_labels_for_one_image_are_refused(tmp_path):
    mixed(tmp_path, 'a.jpg')
    save(tmp_path / 'labels' / 'a.PNG', np.zeros((8, 10), np.uint8))
    with pytest.raises(InputError, match=r'a\.PNG and .*a\.png both fit'):
        make(tmp_path)
    (tmp_path / 'labels' / 'a.png').unlink()
    assert len(make(tmp_path)) == 1


def test_output_names_differ(tmp_path):
    mixed(tmp_path, 'sub/a.jpg', 'sub__a.jpg')
    dataset = make(tmp_path)
    names = {data['data_samples'].sample_name for data in dataset}
    assert names == {'sub__a', 'sub__a-2'}


@pytest.mark.parametrize('folder', ['images', 'labels'])
def test_links_that_lead_nowhere_are_named(root, folder):
    path = sorted((root / folder).glob('a.*'))[0]
    path.unlink()
    path.symlink_to('gone')
    with pytest.raises(FileNotFoundError, match='broken links') as error:
        make(root)
    assert f'{path} (to gone)' in str(error.value)
    (root / 'list.txt').write_text('b\na\n')
    with pytest.raises(FileNotFoundError, match='broken links'):
        make(root, ann_file='list.txt')
    (root / 'list.txt').write_text('b\n')
    assert len(make(root, ann_file='list.txt')) == 1


def test_links_are_followed(tmp_path):
    mixed(tmp_path / 'store', 'x/a.jpg', 'b.jpg')
    for name in ('images', 'labels'):
        folder = tmp_path / name
        folder.mkdir()
        (folder / 'x').symlink_to(tmp_path / 'store' / name / 'x')
        (folder / 'up').symlink_to(folder)  # has no end
        suffix = '.jpg' if name == 'images' else '.png'
        (folder / f'c{suffix}').symlink_to(
            tmp_path / 'store' / name / f'b{suffix}'
        )
    names = [data['data_samples'].sample_name for data in make(tmp_path)]
    assert names == ['c', 'x__a']


@pytest.mark.parametrize(
    'content',
    [
        b'\xef\xbb\xbfb\nsub/a\n',
        b'b\r\nsub/a\r\n',
        b'\n\nb  \n\n\tsub/a \n\n \n',
        b'b.jpg\nsub/a.JPG',
        b'b.png\nsub/a.png\n',
        b'./b\nsub\\a\n',
        'b\nsub/a\n'.encode('utf-16'),
        b'\xef\xbb\xbfb.jpg\r\n\r\nsub/a.jpg \r\n',
    ],
)
def test_lists_as_people_write_them(root, content):
    (root / 'list.txt').write_bytes(content)
    dataset = make(root, ann_file='list.txt')
    names = [data['data_samples'].sample_name for data in dataset]
    assert names == ['b', 'sub__a']


def test_lists_that_cannot_be_read(root):
    (root / 'list.txt').write_bytes(b'caf\xe9\n')
    with pytest.raises(InputError, match=r'list.txt is not a text file'):
        make(root, ann_file='list.txt')
    (root / 'list.txt').write_text('\n \n')
    with pytest.raises(FileNotFoundError, match='list.txt is empty'):
        make(root, ann_file='list.txt')
    with pytest.raises(InputError, match='images is a folder'):
        make(root, ann_file='images')


def test_labels_may_lie_beside_the_images(tmp_path):
    for name in ('a', 'b'):
        save(tmp_path / f'{name}.jpg', picture())
        save(tmp_path / f'{name}.png', np.zeros((8, 10), np.uint8))
    prefix = dict(img_path='.', seg_map_path='.')
    assert len(make(tmp_path, data_prefix=prefix)) == 2


def test_labels_may_lie_below_the_images(tmp_path):
    for name in ('a', 'b'):
        save(tmp_path / f'{name}.jpg', picture())
        save(tmp_path / 'below' / f'{name}.png', np.zeros((8, 10), np.uint8))
        save(tmp_path / 'below' / f'{name}_colours.jpg', picture())
    prefix = dict(img_path='.', seg_map_path='below')
    assert len(make(tmp_path, data_prefix=prefix)) == 2


def test_no_folder_of_images(tmp_path):
    with pytest.raises(InputError, match='has no folder of images'):
        make(tmp_path, data_prefix=dict(seg_map_path='labels'))


def test_label_map_of_the_command_line():
    def value_map(label_map):
        return OpenVocabDataset(
            vocabulary=['a', 'b'],
            data_prefix=dict(img_path='x'),
            label_map=label_map,
            lazy_init=True,
        ).value_map

    assert value_map({'7': '0', 8: 1}) == {7: 0, 8: 1}
    for wrong in ({'sky': 0}, {1: 'sky'}, {1: 2.5}, {1: None}, [1, 2], 'x'):
        with pytest.raises(InputError, match='label_map=.*is not a dict'):
            value_map(wrong)
