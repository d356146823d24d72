# SPDX-License-Identifier: Apache-2.0
"""Writes small data sets in the formats and folders of the real downloads.

Each function takes the folder in which the data set lies and returns the
labels of each image as its vocabulary numbers them, ignored pixels included.
"""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from mmseg.utils import get_palette
from PIL import Image
from scipy.io import savemat

from ovseg_mm.datasets.preparation import (
    ADE20K847,
    COCOObject,
    COCOStuff164k,
    CropCaptions,
    PascalContext59,
    PascalContext459,
    main,
)
from ovseg_mm.datasets.preparation.base import raw_values
from ovseg_mm.datasets.preparation.crop_captions import SOURCES
from ovseg_mm.utils.paths import resource

Labels = dict[str, np.ndarray]
COCO_UNUSED = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}


def write_everything(data: Path) -> dict[str, Labels]:
    """Write all data sets below ``data``, as downloaded."""
    voc10 = write_pascal_context(data / 'VOCdevkit/VOC2010')
    return dict(
        coco=write_coco_stuff(data / 'coco_stuff164k'),
        ade150=write_ade150(data / 'ade/ADEChallengeData2016'),
        ade847=write_ade847(data / 'ade/ADE20K_2021_17_01'),
        pc59=voc10[0],
        pc459=voc10[1],
        voc20=write_voc(data / 'VOCdevkit/VOC2012'),
        cityscapes=write_cityscapes(data / 'cityscapes'),
    )


def prepare_everything(root: Path) -> None:
    """Run the converters on what lies in ``root / 'data'``."""
    for preparation in (
        COCOStuff164k(),
        COCOObject(),
        ADE20K847(),
        PascalContext59(),
        PascalContext459(),
    ):
        folder = root / preparation.root
        assert main(preparation, [str(folder), '--workers', '1']) == 0
    for source, place in SOURCES.items():
        # Classes are small here.
        options = ['--workers', '1', '--source', source, '--min-pixels', '40']
        folder = str(root / place.root)
        assert main(CropCaptions(), [folder, *options]) == 0


def scene(
    height: int, width: int, classes: list[int], seed: int
) -> np.ndarray:
    """Label map of blocks in which every class occurs if there is room."""
    rows, columns = -(-height // 4), -(-width // 4)
    rng = np.random.default_rng(seed)
    blocks = rng.permutation(np.resize(classes, rows * columns))
    blocks = blocks.reshape(rows, columns)
    return np.kron(blocks, np.ones((4, 4), int))[:height, :width]


def save(path: Path, pixels: np.ndarray, palette: list | None = None) -> None:
    """Write an image, of grey or palette mode if it has one channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette is not None:
        image = image.convert('P')
        image.putpalette(np.asarray(palette, np.uint8).tobytes())
    image.save(path)


def save_picture(path: Path, labels: np.ndarray) -> None:
    """Write a picture in which each label has a colour."""
    colours = np.random.default_rng(0).integers(0, 255, (65536, 3))
    save(path, colours[labels].astype(np.uint8))


def write_coco_stuff(root: Path) -> Labels:
    """Raw stuff-thing maps: 8 bits, ids with gaps, 255 unlabelled."""
    ids = np.array([v for v in range(182) if v not in COCO_UNUSED])
    result = {}
    for split, count in (('train2017', 3), ('val2017', 2)):
        for index in range(count):
            labels = scene(72, 96, [*range(171), 255], index)
            if index == 2:  # an image of unseen classes alone
                labels = scene(72, 96, [19, 136, 255], index)
            name = f'{index:012d}'
            raw = np.where(labels == 255, 255, ids[labels % 171])
            save_picture(root / 'images' / split / f'{name}.jpg', labels)
            path = root / 'annotations' / split / f'{name}.png'
            save(path, raw.astype(np.uint8))
            result[f'{split}/{name}'] = labels
    return result


def write_ade150(root: Path) -> Labels:
    """Labels one higher than the classes, 0 for none."""
    result = {}
    for index in range(2):
        labels = scene(72, 96, [*range(150), 255], index)
        name = f'ADE_val_{index + 1:08d}'
        save_picture(root / 'images' / 'validation' / f'{name}.jpg', labels)
        raw = np.where(labels == 255, 0, labels + 1).astype(np.uint8)
        save(root / 'annotations' / 'validation' / f'{name}.png', raw)
        result[name] = labels
    return result


def write_ade847(root: Path) -> Labels:
    """Object classes in red and green, instances in blue, and the index.

    The second image has a short side of more than 512 pixels.
    """
    ids = np.array(raw_values('ade847'))
    index = dict(filename=[], folder=[])
    result = {}
    for number, (split, size) in enumerate(
        [('val', (72, 96)), ('val', (600, 901)), ('train', (64, 64))], 1
    ):
        classes = [0, 255, 256, 846, 65535, *range(number, 846, 3)]
        labels = scene(*size, classes, number)
        name = f'ADE_{split}_{number:08d}'
        folder = 'validation' if split == 'val' else 'training'
        folder = f'images/ADE/{folder}/urban/street'
        # 3157 is an object of no class of the list.
        codes = np.where(labels == 65535, 3157, ids[labels % 847])
        seg = np.stack([codes // 256 * 10 + 3, codes % 256, labels % 7], -1)
        save_picture(root / folder / f'{name}.jpg', labels)
        save(root / folder / f'{name}_seg.png', seg.astype(np.uint8))
        index['filename'].append(f'{name}.jpg')
        index['folder'].append(f'ADE20K_2021_17_01/{folder}')
        result[name] = labels
    index['objectPresence'] = np.ones((3, 3), dtype=np.uint8)
    index['scene'] = np.array(['/street'] * 3, dtype=object)
    (root / 'index_ade20k.pkl').write_bytes(pickle.dumps(index))
    return result


def write_pascal_context(root: Path) -> tuple[Labels, Labels]:
    """``trainval_merged.json`` and the ``.mat`` files of 459 classes.

    Returns:
        Labels of the 59 and of the 459 classes.
    """
    kept = raw_values('pc59')
    rank = {value: label for label, value in enumerate(kept)}
    content = dict(images=[], annos_segmentation=[], categories=[])
    few, many = {}, {}
    (root / 'trainval').mkdir(parents=True, exist_ok=True)
    for index, phase in enumerate(['train', 'val', 'val', 'test']):
        name = f'2008_{index:06d}'
        labels = scene(64, 90, [*range(index, 459, 2), 255, 458], index)
        save_picture(root / 'JPEGImages' / f'{name}.jpg', labels)
        savemat(
            root / 'trainval' / f'{name}.mat',
            dict(LabelMap=(labels + 1).astype(np.uint16)),
        )
        image_id = 2008000000 + index
        content['images'].append(
            dict(
                image_id=image_id,
                file_name=f'{name}.jpg',
                phase=phase,
                height=64,
                width=90,
            )
        )
        # A segment under all others, as backgrounds are.
        segments = [(kept[0], np.ones((64, 90), bool))]
        segments += [
            (int(label) + 1, labels == label) for label in np.unique(labels)
        ]
        content['annos_segmentation'] += [
            dict(
                image_id=image_id,
                category_id=category,
                segmentation=encode_mask(mask),
            )
            for category, mask in segments
        ]
        if phase != 'test':
            lookup = np.full(460, 255)
            lookup[list(rank)] = list(rank.values())
            few[name] = lookup[labels + 1]
            many[name] = labels
    (root / 'trainval_merged.json').write_text(json.dumps(content))
    (root / 'labels.txt').write_text(
        ''.join(
            f'{number}: {text}\n'
            for number, text in enumerate(
                json.loads(resource('data', 'pc459.json').read_text()), 1
            )
        )
    )
    (root / 'pascalcontext_val.txt').write_text('2008_000001\n2008_000002\n')
    return few, many


def write_voc(root: Path) -> Labels:
    """Palette PNGs with borders of 255, SBD's grey ones, and the lists."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[:21] = get_palette('voc')
    palette[255] = 224, 224, 192
    lists: Mapping[str, list[str]] = dict(train=[], val=[], aug=[])
    result = {}
    for index, split in enumerate(['train', 'val', 'val', 'aug', 'aug']):
        name = f'2007_{index:06d}'
        lists[split].append(name)
        raw = scene(72, 96, [*range(21), 255], index)
        if index == 4:  # an image of unseen classes alone
            raw = scene(72, 96, [0, 16, 20], index)
        save_picture(root / 'JPEGImages' / f'{name}.jpg', raw)
        folder = 'SegmentationClass' + ('Aug' if split == 'aug' else '')
        save(
            root / folder / f'{name}.png',
            raw.astype(np.uint8),
            None if split == 'aug' else palette,
        )
        result[name] = np.where(np.isin(raw, [0, 255]), 255, raw - 1)
    folder = root / 'ImageSets' / 'Segmentation'
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in lists.items():
        (folder / f'{split}.txt').write_text('\n'.join(names) + '\n')
    return result


def write_cityscapes(root: Path) -> Labels:
    """Files that the official scripts have made: 0 to 18, 255 for none."""
    result = {}
    for index in range(2):
        labels = scene(72, 96, [*range(19), 255], index)
        name = f'city/city_{index:06d}_000019'
        picture = root / f'leftImg8bit/val/{name}_leftImg8bit.png'
        save_picture(picture, labels)
        path = root / f'gtFine/val/{name}_gtFine_labelTrainIds.png'
        save(path, labels.astype(np.uint8))
        result[name] = labels
    return result


def encode_mask(mask: np.ndarray) -> dict:
    """COCO's compressed run-length code of a mask (H, W)."""
    flat = np.concatenate([[False], mask.T.ravel()])
    ends = np.flatnonzero(np.append(flat[1:] != flat[:-1], True))
    runs = np.diff(np.concatenate([[0], ends])).tolist()
    text = ''
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr(bits + 48 + (0x20 if more else 0))
    return dict(size=list(mask.shape), counts=text)
