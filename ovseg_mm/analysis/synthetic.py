# SPDX-License-Identifier: Apache-2.0
"""Image files and training sets with random content, for measurements."""

from copy import deepcopy
from pathlib import Path

import numpy as np
from mmengine.config import ConfigDict
from PIL import Image


def draw_image(file: Path, size: tuple[int, int], seed: int = 0) -> Path:
    """Write an image of smooth random colours and some noise.

    Args:
        file (Path): File to write.
        size (tuple[int, int]): Height and width.
        seed (int): Seed of the colours.

    Returns:
        Path: ``file``.
    """
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    smooth = Image.fromarray(colours).resize(
        (size[1], size[0]), Image.Resampling.BICUBIC
    )
    # Files of smooth colours alone would be read faster than photographs.
    noise = rng.integers(-12, 13, (*size, 1))
    pixels = np.clip(np.asarray(smooth).astype(int) + noise, 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(file, quality=90)
    return file


def draw_labels(
    file: Path, size: tuple[int, int], num_labels: int, seed: int = 0
) -> Path:
    """Write a label map of 4 x 5 rectangles with random labels.

    Args:
        file (Path): PNG file to write.
        size (tuple[int, int]): Height and width.
        num_labels (int): Number of labels, at most 255.
        seed (int): Seed of the labels.

    Returns:
        Path: ``file``.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_labels, (4, 5), dtype=np.uint8)
    Image.fromarray(labels).resize(
        (size[1], size[0]), Image.Resampling.NEAREST
    ).save(file)
    return file


def write_training_set(
    dataset: ConfigDict,
    folder: Path,
    num_labels: int,
    size: tuple[int, int] = (480, 640),
    count: int = 8,
) -> ConfigDict:
    """Write a data set of JPEG images and PNG label maps.

    Args:
        dataset (ConfigDict): Config of a training data set with one folder of
            images and one folder of label maps.
        folder (Path): Folder of the new data set.
        num_labels (int): Number of labels, at most 255.
        size (tuple[int, int]): Height and width of the images. Default: the
            size of most images of COCO.
        count (int): Number of images.

    Returns:
        ConfigDict: Copy of ``dataset`` that names the files in ``folder``.
    """
    for name in ('images', 'labels'):
        (folder / name).mkdir()
    for seed in range(count):
        draw_image(folder / f'images/{seed}.jpg', size, seed)
        draw_labels(folder / f'labels/{seed}.png', size, num_labels, seed)
    dataset = deepcopy(dataset)
    dataset.update(
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.jpg',
        seg_map_suffix='.png',
    )
    return dataset
