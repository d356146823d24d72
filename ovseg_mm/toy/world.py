# SPDX-License-Identifier: Apache-2.0
"""Toy world: a data set of drawn scenes for demos and tests.

There are three splits: training scenes with only the seen classes, training
scenes with all classes, and validation scenes with all classes. The second
split is for zero-shot training: its images show unseen classes, but the data
set hides the labels of these classes.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.utils import track_iter_progress

from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.image_files import write_image, write_label_map
from ovseg_mm.utils.paths import expanded

from .scenes import CLASSES, OBJECTS, SEEN, Scene, make_scene

# Increased whenever the same seed gives other files.
VERSION = 2
# Files and folders of a toy world. The recipe stores the arguments of
# write_toy_world().
RECIPE = 'recipe.json'
ENTRIES = {'images', 'annotations', 'splits', RECIPE}


def write_toy_world(
    root: str | Path,
    num_train: int = 400,
    num_val: int = 96,
    seed: int = 0,
) -> bool:
    """Write a toy world in MMSegmentation's folder layout.

    The data set has three splits:

    - ``train``: scenes with only the seen classes, about 128x128 pixels;
    - ``train_all``: scenes with all classes, about 128x128 pixels;
    - ``val``: scenes with all classes, from 96x96 to 256x192 pixels.

    The files of a split are ``images/SPLIT/*.png``,
    ``annotations/SPLIT/*.png`` and ``splits/SPLIT.txt``. Labels are indices
    into :data:`~ovseg_mm.toy.scenes.CLASSES`. The files are first written to
    a temporary folder, so an interrupted call leaves no incomplete data set.

    Args:
        root (str | Path): Folder to write. A toy world with other arguments
            in this folder is replaced.
        num_train (int): Number of scenes in each training split, at least 1.
        num_val (int): Number of validation scenes, at least 1.
        seed (int): Random seed of all scenes, at least 0.

    Returns:
        bool: True if the data set was written, False if the folder already
        had the same data set.

    Raises:
        InputError: If ``root`` contains files that are not a toy world, or an
            argument is too small.
    """
    if min(num_train, num_val) < 1 or seed < 0:
        raise InputError(
            f'a toy world cannot have num_train={num_train}, '
            f'num_val={num_val} and seed={seed}; num_train and num_val must '
            'be at least 1, and seed must be at least 0'
        )
    root = expanded(root).resolve()
    recipe = dict(
        toy_world=VERSION, num_train=num_train, num_val=num_val, seed=seed
    )
    found = _recipe_of(root)
    if found == recipe and _is_complete(root, recipe):
        return False
    if 'toy_world' not in found and root.exists():
        if not root.is_dir() or any(root.iterdir()):
            raise InputError(
                f'{root} holds files that are not a toy world and would be '
                'lost; give the path of a new or an empty folder'
            )
    _write_world(root, recipe)
    return True


def _write_world(root: Path, recipe: dict[str, int]) -> None:
    unfinished = root.with_name(f'.{root.name}.partial')
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for split in SCENES:
            number = recipe['num_val' if split == 'val' else 'num_train']
            _write_split(unfinished, split, number, recipe['seed'])
        (unfinished / RECIPE).write_text(json.dumps(recipe) + '\n')
        if root.exists():
            shutil.rmtree(root)
        os.replace(unfinished, root)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def training_scenes(
    rng: np.random.Generator, number: int, objects: Sequence[str] = SEEN
) -> Iterator[Scene]:
    """Yield training scenes, in which all objects are about equally frequent.

    Args:
        rng (np.random.Generator): Random generator.
        number (int): Number of scenes.
        objects (Sequence[str]): Class names of the objects to draw.

    Yields:
        Scene: Scene of about 128x128 pixels with 2 to 5 objects.
    """
    deck = deal(rng, objects)
    sizes = ((128, 128), (112, 144), (144, 112))
    for _ in range(number):
        size = sizes[rng.integers(len(sizes))]
        names = [next(deck) for _ in range(rng.integers(2, 6))]
        yield make_scene(rng, size, names)


def validation_scenes(
    rng: np.random.Generator, number: int
) -> Iterator[Scene]:
    """Yield validation scenes; all object classes are about equally frequent.

    Args:
        rng (np.random.Generator): Random generator.
        number (int): Number of scenes.

    Yields:
        Scene: Scene of 96x96 to 256x192 pixels.
    """
    deck = deal(rng, OBJECTS)
    for index in range(number):
        # Every eighth scene is larger and not square.
        if index % 8 == 7:
            size = ((160, 256), (256, 160), (192, 256))[rng.integers(3)]
        else:
            size = tuple(rng.integers(96, 193, 2).tolist())
        number_of_objects = 1 + size[0] * size[1] // 6000
        names = [next(deck) for _ in range(number_of_objects)]
        yield make_scene(rng, size, names)


def deal(rng: np.random.Generator, names: Sequence[str]) -> Iterator[str]:
    """Yield names endlessly, in rounds; each round has all names, shuffled."""
    while True:
        yield from rng.permutation(names).tolist()


# For each split, the function that draws its scenes, and an additional seed.
SCENES: dict[str, tuple[Callable[..., Iterator[Scene]], int]] = {
    'train': (training_scenes, 0),
    'val': (validation_scenes, 1),
    'train_all': (partial(training_scenes, objects=OBJECTS), 2),
}


def _recipe_of(root: Path) -> dict:
    """Read the arguments with which a toy world was written.

    Args:
        root (Path): Folder of the toy world.

    Returns:
        dict: Arguments of :func:`write_toy_world`, and :data:`VERSION` under
        the key ``toy_world``. Empty if the folder is not a toy world.
    """
    try:
        if not set(os.listdir(root)) <= ENTRIES:
            return {}
        recipe = json.loads((root / RECIPE).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return recipe if isinstance(recipe, dict) else {}


def _is_complete(root: Path, recipe: dict) -> bool:
    return all(
        len(list((root / kind / split).glob('*.png')))
        == recipe['num_val' if split == 'val' else 'num_train']
        for kind in ('images', 'annotations')
        for split in SCENES
    )


def _write_split(root: Path, split: str, number: int, seed: int) -> None:
    scenes, stream = SCENES[split]
    rng = np.random.default_rng((seed, stream))
    print(f'drawing {number} scenes for {split}')
    names: list[str] = []
    for scene in track_iter_progress((scenes(rng, number), number)):
        name = f'{split}_{len(names):04d}'
        write_image(root / 'images' / split / f'{name}.png', scene.image)
        path = root / 'annotations' / split / f'{name}.png'
        write_label_map(path, scene.labels, len(CLASSES))
        names.append(name)
    splits = root / 'splits'
    splits.mkdir(exist_ok=True)
    (splits / f'{split}.txt').write_text('\n'.join(names) + '\n')
