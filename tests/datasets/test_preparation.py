# SPDX-License-Identifier: Apache-2.0
"""Converters on files in the formats of the real downloads."""

import json
import os
import pickle
import runpy
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from ovseg_mm.datasets.preparation import (
    ADE20K150,
    ADE20K847,
    COCOObject,
    COCOStuff164k,
    PascalContext59,
    PascalContext459,
    PascalVOC,
    ZeroShot,
    base,
    main,
)
from ovseg_mm.datasets.preparation.pascal_context_59 import decode_runs
from ovseg_mm.utils.paths import resource

from ..raw_data import (
    encode_mask,
    write_ade150,
    write_ade847,
    write_coco_stuff,
    write_pascal_context,
    write_voc,
)


def prepare(preparation, root, *arguments):
    return main(preparation(), [str(root), '--workers', '1', *arguments])


def read(path):
    return np.array(Image.open(path))


def with_facts(preparation, **facts):
    """The preparation, with other facts than those of the whole data set."""

    class Small(preparation):
        def checks(self, root, options):
            return [
                replace(check, **facts)
                for check in super().checks(root, options)
            ]

    return Small


def test_coco_stuff(tmp_path, capsys):
    expected = write_coco_stuff(tmp_path)
    assert prepare(COCOStuff164k, tmp_path) == 0
    assert '5 made, 0 were there already' in capsys.readouterr().out
    for name, labels in expected.items():
        path = tmp_path / 'annotations' / f'{name}_labelTrainIds.png'
        assert read(path).dtype == np.uint8
        np.testing.assert_array_equal(read(path), labels)
    # Made files are not taken for raw ones, nor made again.
    assert prepare(COCOStuff164k, tmp_path) == 0
    assert '0 made, 5 were there already' in capsys.readouterr().out
    assert prepare(COCOStuff164k, tmp_path, '--verify') == 1
    output = capsys.readouterr().out
    assert 'has 2 label files (*_labelTrainIds.png); expected 5000' in output
    assert 'https://github.com/nightrome/cocostuff' in output
    assert (
        prepare(with_facts(COCOStuff164k, counts=(2, 3)), tmp_path, '--verify')
        == 0
    )
    assert 'not made yet' not in output
    gone = tmp_path / 'annotations' / f'{name}_labelTrainIds.png'
    gone.unlink()
    assert prepare(COCOStuff164k, tmp_path, '--verify') == 1
    output = capsys.readouterr().out
    assert f'1 of the files are not made yet ({gone}, ...)' in output


def test_coco_stuff_with_wrong_files(tmp_path, capsys):
    write_coco_stuff(tmp_path)
    folder = tmp_path / 'annotations' / 'train2017'
    Image.fromarray(np.full((4, 4), 11, np.uint8)).save(folder / 'gap.png')
    Image.fromarray(np.full((4, 4), 9, np.uint16)).save(folder / 'deep.png')
    whole = (folder / f'{0:012d}.png').read_bytes()
    (folder / 'cut.png').write_bytes(whole[: len(whole) // 2])
    assert prepare(COCOStuff164k, tmp_path) == 1
    output = capsys.readouterr()
    assert '5 made, 0 were there already, 3 failed' in output.out
    assert 'gap.png holds the values [11]' in output.err
    assert 'deep.png has 16 bits per pixel or more, expected 8' in output.err
    assert 'cut.png cannot be read' in output.err
    made = {path.name for path in folder.glob('*_labelTrainIds.png')}
    assert made == {f'{i:012d}_labelTrainIds.png' for i in range(3)}
    shutil.rmtree(folder)
    assert prepare(COCOStuff164k, tmp_path) == 2
    assert f'{folder} is missing; download it from' in capsys.readouterr().err


def test_ade847(tmp_path):
    expected = write_ade847(tmp_path)
    assert prepare(ADE20K847, tmp_path) == 0
    labels = tmp_path / 'annotations_detectron2' / 'validation'
    images = tmp_path / 'images_detectron2' / 'validation'
    small, large = 'ADE_val_00000001', 'ADE_val_00000002'
    assert {path.stem for path in labels.iterdir()} == {small, large}
    assert read(labels / f'{small}.tif').dtype == np.uint16
    np.testing.assert_array_equal(
        read(labels / f'{small}.tif'), expected[small]
    )
    # short side 512; 901 * 512 / 600 = 768.85
    resized = cv2.resize(
        expected[large].astype(np.float32),
        (769, 512),
        interpolation=cv2.INTER_NEAREST,
    )
    np.testing.assert_array_equal(read(labels / f'{large}.tif'), resized)
    assert Image.open(images / f'{large}.jpg').size == (769, 512)
    # Small pictures are compressed again: quality 75 of the first table.
    assert Image.open(images / f'{small}.jpg').quantization[0][0] == 8
    assert {255, 256, 846, 65535} <= set(np.unique(expected[small]))
    assert prepare(ADE20K847, tmp_path, '--splits', 'training') == 0
    folder = tmp_path / 'annotations_detectron2' / 'training'
    assert [path.name for path in folder.iterdir()] == [
        'ADE_train_00000003.tif'
    ]


def test_ade847_verified(tmp_path, capsys):
    write_ade847(tmp_path)
    assert prepare(ADE20K847, tmp_path, '--verify') == 1
    assert 'annotations_detectron2/validation does not' in (
        capsys.readouterr().out
    )
    prepare(ADE20K847, tmp_path)
    small = with_facts(ADE20K847, counts=(2,), present=None)
    assert prepare(small, tmp_path, '--verify') == 0
    every = with_facts(ADE20K847, counts=(2,))
    assert prepare(every, tmp_path, '--verify') == 1
    assert 'expected 847' in capsys.readouterr().out
    folder = tmp_path / 'annotations_detectron2' / 'validation'
    path = folder / 'ADE_val_00000001.tif'
    for pixels, message in (
        (np.full((72, 96), 847, np.uint16), 'holds the values [847]'),
        (np.full((72, 96), 7, np.uint8), 'has 8 bits per pixel; expected 16'),
        (
            np.full((72, 90), 7, np.uint16),
            'is 90x72 pixels (width',
        ),
    ):
        Image.fromarray(pixels).save(path)
        assert prepare(small, tmp_path, '--verify') == 1
        assert message in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:40])
    (tmp_path / 'images_detectron2/validation/ADE_val_00000002.jpg').unlink()
    assert prepare(small, tmp_path, '--verify') == 1
    output = capsys.readouterr().out
    assert f'{path} cannot be read' in output
    assert 'ADE_val_00000002.jpg of' in output


class Harmful:
    def __reduce__(self):
        return os.mkdir, ('harm',)


def test_ade847_index_runs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_ade847(tmp_path)
    path = tmp_path / 'index_ade20k.pkl'
    index = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**index, 'extra': Harmful()}))
    assert prepare(ADE20K847, tmp_path) == 0
    assert not (tmp_path / 'harm').exists()
    for content in (b'', path.read_bytes()[:60], pickle.dumps([1])):
        path.write_bytes(content)
        assert prepare(ADE20K847, tmp_path) == 2
        assert 'index_ade20k.pkl is not the index' in capsys.readouterr().err
    path.unlink()
    assert prepare(ADE20K847, tmp_path) == 2
    assert (
        'index_ade20k.pkl is missing; download it' in capsys.readouterr().err
    )


def test_ade847_with_missing_files(tmp_path, capsys):
    write_ade847(tmp_path)
    folder = tmp_path / 'images/ADE/validation/urban/street'
    (folder / 'ADE_val_00000001_seg.png').unlink()
    assert prepare(ADE20K847, tmp_path) == 1
    output = capsys.readouterr()
    assert 'ADE_val_00000001_seg.png is in the index' in output.err
    assert '1 made, 0 were there already, 1 failed' in output.out


def test_pascal_context_59(tmp_path, capsys):
    expected, _ = write_pascal_context(tmp_path)
    assert prepare(PascalContext59, tmp_path) == 0
    folder = tmp_path / 'SegmentationClassContext'
    assert {path.stem for path in folder.iterdir()} == set(expected)
    for name, labels in expected.items():
        raw = read(folder / f'{name}.png')
        np.testing.assert_array_equal(
            raw, np.where(labels == 255, 0, labels + 1)
        )
    lists = tmp_path / 'ImageSets' / 'SegmentationContext'
    assert (lists / 'val.txt').read_text() == '2008_000001\n2008_000002\n'
    assert (lists / 'train.txt').read_text() == '2008_000000\n'
    assert prepare(PascalContext59, tmp_path, '--verify') == 1
    assert 'has 2 label files (*.png); expected 5104 or 5105' in (
        capsys.readouterr().out
    )
    assert (
        prepare(with_facts(PascalContext59, counts=()), tmp_path, '--verify')
        == 0
    )


def test_run_lengths():
    # Made with pycocotools.
    mask = np.zeros((300, 200), dtype=bool)
    mask[10:250, 30:33] = mask[0:5, 40] = mask[299, 199] = True
    code = dict(size=[300, 200], counts='bi8`7l1000ZQ2eHdh\\1L')
    np.testing.assert_array_equal(decode_runs(code, (300, 200)), mask)
    assert encode_mask(mask) == code
    plain = dict(size=[2, 3], counts=[1, 2, 3])
    expected = [[False, True, False], [True, False, False]]
    assert decode_runs(plain, (2, 3)).tolist() == expected
    with pytest.raises(ValueError, match=r'expected the size \[3, 2\]'):
        decode_runs(plain, (3, 2))


def test_pascal_context_59_with_wrong_file(tmp_path, capsys):
    write_pascal_context(tmp_path)
    path = tmp_path / 'trainval_merged.json'
    content = json.loads(path.read_text())
    content['annos_segmentation'][0]['segmentation'] = [[0, 0, 5, 5, 0, 5]]
    path.write_text(json.dumps(content))
    assert prepare(PascalContext59, tmp_path) == 1
    assert 'a segment of 2008_000000 cannot be decoded' in (
        capsys.readouterr().err
    )
    for text in ('{"images": []}', '{"images": ['):
        path.write_text(text)
        assert prepare(PascalContext59, tmp_path) == 2
        assert 'download it again' in capsys.readouterr().err
    path.unlink()
    assert prepare(PascalContext59, tmp_path) == 2
    assert 'trainval_merged.json is missing' in capsys.readouterr().err


def test_pascal_context_459(tmp_path, capsys):
    _, expected = write_pascal_context(tmp_path)
    assert prepare(PascalContext459, tmp_path) == 0
    folder = tmp_path / 'annotations_detectron2' / 'pc459_val'
    names = ['2008_000001', '2008_000002']
    assert sorted(path.stem for path in folder.iterdir()) == names
    for name in names:
        labels = read(folder / f'{name}.tif')
        assert labels.dtype == np.uint16
        np.testing.assert_array_equal(labels, expected[name])
    lists = tmp_path / 'ImageSets' / 'SegmentationContext'
    assert (lists / 'val.txt').read_text().split() == names
    small = with_facts(PascalContext459, counts=(2,), present=None)
    assert prepare(small, tmp_path, '--verify') == 0
    (folder / '2008_000001.tif').unlink()
    capsys.readouterr()
    assert prepare(small, tmp_path, '--verify') == 1
    assert '2008_000001.tif' in capsys.readouterr().out


def test_pascal_context_459_with_wrong_files(tmp_path, capsys):
    write_pascal_context(tmp_path)
    folder = tmp_path / 'trainval'
    first, second = folder / '2008_000001.mat', folder / '2008_000002.mat'
    savemat(first, dict(LabelMap=np.full((4, 4), 460, np.uint16)))
    savemat(second, dict(LabelMap=np.full((4, 4), 4, np.uint8)))
    assert prepare(PascalContext459, tmp_path) == 1
    output = capsys.readouterr().err
    assert '2008_000001.mat holds the value 460; expected at most' in output
    assert 'dtype uint8, expected (height, width) and uint16' in output
    first.write_bytes(b'no matlab')
    savemat(second, dict(other=np.zeros(3)))
    assert prepare(PascalContext459, tmp_path) == 1
    output = capsys.readouterr().err
    assert '2008_000001.mat is not a label file' in output
    assert '2008_000002.mat is not a label file' in output
    second.unlink()
    assert prepare(PascalContext459, tmp_path) == 2
    assert '2008_000002.mat is missing; download it' in capsys.readouterr().err
    shutil.rmtree(tmp_path / 'ImageSets')
    (tmp_path / 'pascalcontext_val.txt').unlink()
    assert prepare(PascalContext459, tmp_path) == 2
    assert (
        'the list of validation images is missing' in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ('split', 'write', 'total', 'seen', 'dropped'),
    [
        ('voc20-15-5', write_voc, 3, 15, '2007_000004'),
        ('coco-156-15', write_coco_stuff, 3, 156, f'{2:012d}'),
    ],
)
def test_zero_shot_labels(
    tmp_path, capsys, split, write, total, seen, dropped
):
    expected = write(tmp_path)
    if split.startswith('coco'):
        prepare(COCOStuff164k, tmp_path)
    assert prepare(ZeroShot, tmp_path, '--split', split) == 0
    folder = tmp_path / 'labels_seen'
    names = (folder / f'{split}.txt').read_text().split()
    assert len(names) == total - 1 and dropped not in names
    vocabulary = json.loads(resource('data', f'{split}.json').read_text())
    base = resource('data', f'{vocabulary["class_texts"]}.json')
    classes = json.loads(base.read_text())
    kept = [n for n in classes if n not in vocabulary['unseen']]
    for name in names:
        key = f'train2017/{name}' if split.startswith('coco') else name
        labels = expected[key]
        found = read(folder / split / f'{name}.png')
        for label in np.unique(labels):
            values = np.unique(found[labels == label]).tolist()
            if label != 255 and classes[label] in kept:
                assert values == [kept.index(classes[label])]
            else:
                assert values == [255]
    assert prepare(ZeroShot, tmp_path, '--split', split, '--verify') == 0


def test_sets_that_are_ready(tmp_path, capsys):
    write_voc(tmp_path / 'voc')
    write_ade150(tmp_path / 'ade')
    for preparation, folder in ((PascalVOC, 'voc'), (ADE20K150, 'ade')):
        root = tmp_path / folder
        assert prepare(preparation, root) == 1
        assert 'has 2 label files' in capsys.readouterr().out
        assert prepare(preparation, root, '--verify') == 1
        assert 'has 2 label files' in capsys.readouterr().out
        small = with_facts(preparation, counts=(2,))
        assert prepare(small, root, '--verify') == 0
    assert prepare(ADE20K150, tmp_path) == 1
    assert 'validation does not exist' in capsys.readouterr().out
    assert prepare(PascalVOC, tmp_path) == 2
    assert (
        'val.txt is missing; download it from http' in capsys.readouterr().err
    )


@pytest.mark.slow
def test_processes_and_kill(tmp_path):
    """A killed run leaves whole files alone, and the next one goes on."""
    write_coco_stuff(tmp_path)
    folder = tmp_path / 'annotations' / 'train2017'
    source = (folder / f'{0:012d}.png').read_bytes()
    for index in range(3, 1500):
        (folder / f'{index:012d}.png').write_bytes(source)
    command = [
        sys.executable,
        str(resource('tools', 'dataset_converters', 'coco_stuff164k.py')),
        str(tmp_path),
        *('--workers', '2', '--splits', 'train2017'),
    ]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL
    )
    deadline = time.time() + 120
    while not list(folder.glob('*_labelTrainIds.png')):
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (folder / '.x_labelTrainIds.png.1.tmp').write_bytes(b'half')
    made = list(folder.glob('*_labelTrainIds.png'))
    assert all(read(path).shape == (72, 96) for path in made)
    output = subprocess.run(
        command, check=True, capture_output=True, text=True
    ).stdout
    assert f'{len(made)} were there already, 0 failed' in output
    assert len(list(folder.glob('*_labelTrainIds.png'))) == 1500
    assert not list(folder.glob('.*'))


@pytest.mark.parametrize(
    'name',
    sorted(
        path.name
        for path in resource('tools', 'dataset_converters').glob('*.py')
    ),
)
def test_commands_print_their_help(name, monkeypatch, capsys):
    path = resource('tools', 'dataset_converters', name)
    monkeypatch.setattr(sys, 'argv', [name, '-h'])
    with pytest.raises(SystemExit) as status:
        runpy.run_path(str(path), run_name='__main__')
    assert status.value.code == 0
    assert 'ownload' in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize('name', ['../../x', '/x', 'a/../../../x'])
def test_lists_do_not_lead_out_of_the_data_set(name, tmp_path):
    path = tmp_path / 'train.txt'
    path.write_text(f'2007_000032\n{name}\n')
    with pytest.raises(ValueError, match=f'{path}: the name {name!r} leads'):
        base.read_list(path)


def test_coco_object(tmp_path, capsys):
    expected = write_coco_stuff(tmp_path)
    # Labels made before are not taken for raw maps, nor the other way.
    assert prepare(COCOObject, tmp_path) == 0
    assert '2 made, 0 were there already' in capsys.readouterr().out
    assert prepare(COCOStuff164k, tmp_path) == 0
    assert '5 made, 0 were there already' in capsys.readouterr().out
    assert prepare(COCOObject, tmp_path) == 0
    assert '0 made, 2 were there already' in capsys.readouterr().out
    for index in range(2):
        name = f'val2017/{index:012d}'
        path = tmp_path / 'annotations' / f'{name}_instanceTrainIds.png'
        labels = expected[name]
        # The first 80 of COCO-Stuff are the objects; all else is 0.
        things = np.where(labels < 80, labels + 1, 0)
        np.testing.assert_array_equal(read(path), things)
        assert (labels == 255).any()
    small = with_facts(COCOObject, counts=(2,))
    assert prepare(small, tmp_path, '--verify') == 0


def test_values_of_coco_objects():
    from ovseg_mm.datasets.preparation.coco_object import OBJECTS

    known = [*range(11), *range(12, 25), 26, 27, *range(30, 44)]
    known += [*range(45, 65), 66, 69, *range(71, 82), *range(83, 90)]
    assert list(OBJECTS) == known and len(known) == 80


def test_coco_object_with_wrong_files(tmp_path, capsys):
    write_coco_stuff(tmp_path)
    folder = tmp_path / 'annotations' / 'val2017'
    Image.fromarray(np.full((4, 4), 11, np.uint8)).save(folder / 'gap.png')
    assert prepare(COCOObject, tmp_path) == 1
    assert 'gap.png holds the values [11]' in capsys.readouterr().err
    shutil.rmtree(folder)
    assert prepare(COCOObject, tmp_path) == 2
    assert f'{folder} is missing; download it from' in capsys.readouterr().err


def instances(root, annotations):
    """A file of COCO instances with one image of 20x30 pixels."""
    (root / 'annotations').mkdir(parents=True, exist_ok=True)
    path = root / 'annotations' / 'instances_val2017.json'
    image = dict(id=7, file_name='000000000007.jpg', height=20, width=30)
    for annotation in annotations:
        annotation['image_id'] = 7
    content = dict(images=[image], annotations=annotations)
    path.write_text(json.dumps(content))
    return path


def square(top, left, bottom, right):
    return [[left, top, right, top, right, bottom, left, bottom]]


def test_coco_object_of_instances(tmp_path):
    pytest.importorskip('pycocotools')
    crowd = np.zeros((20, 30), bool)
    crowd[16:, :4] = True
    flat = np.concatenate([[False], crowd.T.ravel(), [True]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate([[0], ends, [600]])).tolist()
    instances(
        tmp_path,
        [
            # The smaller one is on top, whatever the order.
            dict(category_id=18, segmentation=square(4, 4, 8, 8)),
            dict(category_id=90, segmentation=square(2, 2, 14, 20)),
            dict(
                category_id=1,
                segmentation=dict(size=[20, 30], counts=runs),
                iscrowd=1,
            ),
            dict(category_id=44, segmentation=encode_mask(crowd[:, ::-1])),
        ],
    )
    assert prepare(COCOObject, tmp_path, '--source', 'instances') == 0
    path = tmp_path / 'annotations/val2017/000000000007_instanceTrainIds.png'
    labels = read(path)
    assert labels[5, 5] == 17 and labels[10, 10] == 80
    assert labels[18, 1] == 1 and labels[0, 0] == 0
    # Category 44 is the 40th of the 80.
    assert labels[18, 28] == 40
    assert np.unique(labels).tolist() == [0, 1, 17, 40, 80]


def test_coco_object_of_wrong_instances(tmp_path, capsys, monkeypatch):
    from ovseg_mm.datasets.preparation import coco_object

    options = '--source', 'instances'
    assert prepare(COCOObject, tmp_path, *options) == 2
    assert 'the instance annotation file' in capsys.readouterr().err
    path = instances(tmp_path, [])
    monkeypatch.setattr(coco_object, 'find_spec', lambda name: None)
    assert prepare(COCOObject, tmp_path, *options) == 2
    assert 'pip install pycocotools' in capsys.readouterr().err
    monkeypatch.setattr(coco_object, 'find_spec', lambda name: True)
    path.write_text('{"images": [{}]}')
    assert prepare(COCOObject, tmp_path, *options) == 2
    assert f'{path} is not a file of COCO inst' in capsys.readouterr().err


def test_unknown_categories_of_instances(tmp_path, capsys):
    pytest.importorskip('pycocotools')
    shape = dict(category_id=12, segmentation=square(1, 1, 5, 5))
    instances(tmp_path, [shape])
    assert prepare(COCOObject, tmp_path, '--source', 'instances') == 1
    assert 'category_id=12 is not one of the 80' in capsys.readouterr().err
