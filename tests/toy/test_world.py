# SPDX-License-Identifier: Apache-2.0
import json
import random
import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from ovseg_mm.toy import world as toy_world
from ovseg_mm.toy.captions import (
    FACTS,
    GROUND_SYNONYMS,
    facts_of,
    make_caption,
)
from ovseg_mm.toy.scenes import (
    CLASSES,
    GROUNDS,
    OBJECTS,
    SEEN,
    UNSEEN,
    make_scene,
)
from ovseg_mm.toy.world import write_toy_world
from ovseg_mm.utils.paths import resource
from ovseg_mm.vocabulary import load_vocabulary

NUM_TRAIN, NUM_VAL = 12, 20


def make(root, **options):
    return write_toy_world(root, NUM_TRAIN, NUM_VAL, **options)


def content(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp('toy') / 'world'
    assert make(root)
    return root


def labels_of(world, split):
    files = sorted((world / 'annotations' / split).glob('*.png'))
    return [np.asarray(Image.open(file)) for file in files]


def test_layout(world):
    for split, number in (
        ('train', NUM_TRAIN),
        ('train_all', NUM_TRAIN),
        ('val', NUM_VAL),
    ):
        names = (world / 'splits' / f'{split}.txt').read_text().split()
        assert len(names) == number
        for name in names:
            image = Image.open(world / 'images' / split / f'{name}.png')
            labels = Image.open(world / 'annotations' / split / f'{name}.png')
            assert (image.mode, labels.mode) == ('RGB', 'L')
            assert image.size == labels.size


def test_same_seed_same_files(world, tmp_path):
    make(tmp_path / 'again')
    assert content(tmp_path / 'again') == content(world)
    make(tmp_path / 'other', seed=1)
    other = content(tmp_path / 'other')
    assert other.keys() == content(world).keys()
    assert other != content(world)


def test_unseen_classes_are_in_validation_only(world):
    unseen = {CLASSES.index(name) for name in UNSEEN}
    train = set(np.unique(np.concatenate(labels_of(world, 'train'), None)))
    val = set(np.unique(np.concatenate(labels_of(world, 'val'), None)))
    assert not train & unseen
    assert unseen < val
    assert val == set(range(len(CLASSES)))


def test_training_scenes_of_all_classes(world):
    unseen = {CLASSES.index(name) for name in UNSEEN}
    scenes = labels_of(world, 'train_all')
    assert unseen <= set(np.unique(np.concatenate(scenes, None)))
    both = [bool(set(np.unique(x)) & unseen) for x in scenes]
    assert 0 < sum(both), 'unseen classes stand beside seen ones'
    assert {max(x.shape) for x in scenes} <= {128, 144}


def test_every_part_of_an_unseen_name_is_in_a_seen_one():
    words = {word for name in SEEN for word in name.split()}
    assert all(set(name.split()) <= words for name in UNSEEN)
    assert len(OBJECTS) == 36 and len(UNSEEN) == 9 and len(GROUNDS) == 4


def test_sizes_vary_and_some_are_larger_than_most(world):
    sizes = {labels.shape for labels in labels_of(world, 'val')}
    assert len(sizes) > NUM_VAL // 2
    assert all(min(size) > 64 for size in sizes), 'windows slide'
    assert any(max(size) >= 256 for size in sizes)
    assert any(h > w for h, w in sizes) and any(h < w for h, w in sizes)


def test_shipped_class_texts_are_the_labels():
    vocabulary = load_vocabulary('toy_world')
    assert vocabulary.names == CLASSES
    assert {CLASSES[label] for label in vocabulary.unseen} == set(UNSEEN)
    assert len(vocabulary.seen) == 27 + 4


def test_labels_are_where_the_colours_are():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        scene = make_scene(rng, (96, 128), ['plain red', 'plain blue'])
        red = scene.labels == CLASSES.index('plain red')
        blue = scene.labels == CLASSES.index('plain blue')
        pixels = scene.image.astype(int)
        # The outermost pixel of an object is mixed with the ground.
        assert red.sum() > 100 and blue.sum() > 100
        is_red = (pixels[..., 0] > 150) & (pixels[..., 1:].max(-1) < 90)
        is_blue = (pixels[..., 2] > 160) & (pixels[..., :2].max(-1) < 125)
        assert is_red[red].mean() > 0.85
        assert is_blue[blue].mean() > 0.85
        assert is_red[~red].mean() < 0.01


def test_scene_names_what_can_be_seen():
    rng = np.random.default_rng(3)
    scene = make_scene(rng, (64, 80), ['dotted green', 'striped white'])
    present = {CLASSES[label] for label in np.unique(scene.labels)}
    assert set(scene.objects) | set(scene.grounds) <= present
    assert set(scene.grounds) <= set(GROUNDS)
    with pytest.raises(ValueError, match='20x64'):
        make_scene(rng, (20, 64), [])


def test_what_is_there_is_kept(world):
    before = {path: path.stat().st_mtime_ns for path in world.rglob('*')}
    assert not make(world)
    after = {path: path.stat().st_mtime_ns for path in world.rglob('*')}
    assert before == after


def test_other_options_and_missing_files_make_it_again(tmp_path):
    root = tmp_path / 'world'
    make(root)
    whole = content(root)
    (root / 'annotations' / 'val' / 'val_0003.png').unlink()
    assert make(root)
    assert content(root) == whole
    assert write_toy_world(root, 2, 3, seed=7)
    assert len(content(root)) == 2 * (2 + 2 + 3) + 4


def test_folders_of_others_are_not_touched(tmp_path):
    mine = tmp_path / 'holiday.jpg'
    mine.write_bytes(b'dear')
    with pytest.raises(ValueError, match='not a toy world'):
        make(tmp_path)
    with pytest.raises(ValueError, match='not a toy world'):
        make(mine)
    # A toy world into which somebody put something is somebody's.
    root = tmp_path / 'world'
    make(root)
    (root / 'notes.txt').write_text('dear')
    with pytest.raises(ValueError, match='not a toy world'):
        make(root, seed=1)
    assert (root / 'notes.txt').read_text() == 'dear'
    assert mine.read_bytes() == b'dear'
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'holiday.jpg',
        'world',
    ]


def test_interrupted_writing_leaves_what_was_there(tmp_path, monkeypatch):
    root = tmp_path / 'world'
    make(root)
    before = content(root)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setitem(toy_world.SCENES, 'val', (interrupt, 1))
    with pytest.raises(KeyboardInterrupt):
        make(root, seed=1)
    assert content(root) == before
    assert [path.name for path in tmp_path.iterdir()] == ['world']


@pytest.mark.parametrize(
    'options', [dict(num_train=0), dict(num_val=0), dict(seed=-1)]
)
def test_numbers_that_are_too_small(options, tmp_path):
    with pytest.raises(ValueError, match='must be at least'):
        write_toy_world(tmp_path / 'world', **options)
    assert not any(tmp_path.iterdir())


def test_recipe_says_how_it_was_made(world):
    recipe = json.loads((world / 'recipe.json').read_text())
    assert recipe['num_train'] == NUM_TRAIN and recipe['seed'] == 0


def test_command(tmp_path, monkeypatch, capsys):
    script = resource('tools', 'dataset_converters', 'toy_world.py')
    root = tmp_path / 'world'
    options = ['--num-train', '2', '--num-val', '3', '--seed', '7']

    def command(*arguments):
        monkeypatch.setattr(sys, 'argv', ['toy_world.py', *arguments])
        with pytest.raises(SystemExit) as status:
            runpy.run_path(str(script), run_name='__main__')
        return status.value.code, capsys.readouterr()

    assert command(str(root), *options)[0] == 0
    assert write_toy_world(root, 2, 3, seed=7) is False
    status, printed = command(str(root), *options)
    assert status == 0 and 'exists already' in printed.out
    status, printed = command(str(tmp_path), *options)
    assert status == 2
    assert printed.err.startswith(
        f'error: {tmp_path} holds files that are not a toy world'
    )


def test_captions_state_what_is_true():
    rng = random.Random(0)
    scene = make_scene(
        np.random.default_rng(5), (96, 96), ['dotted red', 'plain blue']
    )
    facts = facts_of(scene)
    assert {'dotted red', 'red', 'plain blue', 'blue'} <= set(facts)
    synonyms = {word: fact for fact, word in GROUND_SYNONYMS.items()}
    told = set()
    for _ in range(300):
        caption = make_caption(rng, facts)
        assert set(caption.facts) <= set(facts) <= set(FACTS)
        words = {synonyms.get(w, w) for w in caption.text.split()}
        for fact in caption.facts:
            assert set(fact.split()) <= words
        told.update(caption.facts)
    assert told == set(facts), 'everything is told in the end'
