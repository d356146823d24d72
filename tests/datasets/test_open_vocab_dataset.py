# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.errors import InputError
from ovseg_mm.paths import resource

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
    fails(r'expects the file .*labels/a.tif', seg_map_suffix='.tif')
    fails('list of samples .*val.txt does not exist', ann_file='val.txt')
    (root / 'val.txt').write_text('')
    fails('list of samples .*val.txt is empty', ann_file='val.txt')
    (root / 'val.txt').write_text('nobody\n')
    fails('expects the file .*nobody.jpg', ann_file='val.txt')
    # Any file may be the one that is missing.
    last = sorted((root / 'labels').rglob('*.png'))[-1]
    last.unlink()
    fails(f'expects the file .*{last.name}, which')


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
    dataset = make(root, vocabulary=WORDS[:2])
    path = root / 'labels' / 'sub' / 'a.png'
    with pytest.raises(ValueError, match='holds the label values 2,') as error:
        dataset[2]
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
    config = Config.fromfile(
        resource('configs', '_base_', 'datasets', f'{name}.py')
    )
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


@pytest.mark.parametrize(
    ('dtype', 'backend', 'message'),
    [
        (np.uint16, 'pillow', "x.png has 16 bits.*imdecode_backend='cv2'"),
        (np.uint16, 'cv2', None),
        (np.float32, 'pillow', 'x.tif has pixels of 32 bits'),
        (np.float32, 'cv2', 'x.tif has pixels of 32 bits'),
    ],
)
def test_deep_pictures_are_scaled_or_refused(
    tmp_path, dtype, backend, message
):
    suffix = '.png' if dtype is np.uint16 else '.tif'
    pixels = np.arange(8 * 10).reshape(8, 10).astype(dtype) * 800
    save(tmp_path / 'images' / f'x{suffix}', pixels)
    dataset = OpenVocabDataset(
        WORDS,
        dict(img_path=str(tmp_path / 'images')),
        img_suffix=suffix,
        pipeline=[
            dict(type='LoadImageFromFile', imdecode_backend=backend),
            dict(type='PackSegInputs'),
        ],
    )
    if message is None:
        inputs = dataset[0]['inputs'].numpy()
        np.testing.assert_array_equal(inputs[0], pixels >> 8)
        return
    with pytest.raises(ValueError, match=message):
        dataset[0]


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
