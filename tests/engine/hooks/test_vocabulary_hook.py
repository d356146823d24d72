# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
from mmengine.runner import Runner
from mmseg.datasets import ADE20KDataset, BaseSegDataset

from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.engine.hooks import VocabularyHook
from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import class_palette, load_vocabulary

WORDS = ['ruby', 'emerald|jade', 'sapphire', 'topaz']


@pytest.fixture
def no_image(monkeypatch):
    """Fails the test as soon as an image is asked for."""

    def prepare(self, index):
        pytest.fail('an image was read')

    monkeypatch.setattr(OpenVocabDataset, 'prepare_data', prepare)


def test_test_labels_that_do_not_fit(tiny_cfg, no_image):
    tiny_cfg.model.vocabulary = WORDS[:2]
    with pytest.raises(ValueError, match='has 4 labels, but .* has 2'):
        Runner.from_cfg(tiny_cfg).test()


def test_training_labels_that_do_not_fit(tiny_cfg, no_image):
    tiny_cfg.model.train_vocabulary = WORDS[:3]
    with pytest.raises(ValueError, match='has 4 labels, but .* has 3'):
        Runner.from_cfg(tiny_cfg).train()


def test_validation_labels_are_checked_before_training(tiny_cfg, no_image):
    tiny_cfg.model.train_vocabulary = tiny_cfg.model.vocabulary
    tiny_cfg.model.vocabulary = WORDS[:3]
    with pytest.raises(ValueError, match='has 4 labels, but .* has 3'):
        Runner.from_cfg(tiny_cfg).train()


def concatenated(loader, **second):
    """Make the loader's data set two of them with names of their own."""
    first = loader.dataset
    loader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(
            type='ConcatDataset',
            datasets=[first, {**first, **second}],
            ignore_keys=['classes', 'palette'],
        ),
    )


@pytest.mark.parametrize('phase', ['train', 'val', 'test'])
@pytest.mark.parametrize('wrapped', [False, True])
def test_the_same_words_in_another_order(tiny_cfg, no_image, phase, wrapped):
    loader = tiny_cfg[f'{phase}_dataloader']
    words = [*tiny_cfg.vocabulary[1:], tiny_cfg.vocabulary[0]]
    if wrapped:
        concatenated(loader, vocabulary=words)
    else:
        loader.dataset.vocabulary = words
    runner = Runner.from_cfg(tiny_cfg)
    with pytest.raises(InputError, match='OpenVocabDataset in another order'):
        getattr(runner, phase)()


def test_validation_words_in_another_order_before_training(tiny_cfg, no_image):
    tiny_cfg.val_dataloader.dataset.vocabulary = tiny_cfg.vocabulary[::-1]
    with pytest.raises(InputError, match='in another order'):
        Runner.from_cfg(tiny_cfg).train()


def test_training_words_of_their_own_in_another_order(tiny_cfg, no_image):
    tiny_cfg.model.train_vocabulary = tiny_cfg.vocabulary[::-1]
    with pytest.raises(InputError, match='in another order'):
        Runner.from_cfg(tiny_cfg).train()


def test_training_without_validation(tiny_cfg):
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        tiny_cfg.pop(key)
    runner = Runner.from_cfg(tiny_cfg)
    runner.train()
    assert runner.iter == 2


def test_words_of_the_model_reach_metric_and_visualiser(tiny_cfg):
    tiny_cfg.model.vocabulary = dict(
        class_texts=WORDS,
        unseen=['emerald'],
        palette=[[i, i, i] for i in range(4)],
    )
    runner = Runner.from_cfg(tiny_cfg)
    metrics = runner.test()
    for meta in (
        runner.test_evaluator.dataset_meta,
        runner.test_evaluator.metrics[0].dataset_meta,
        runner.visualizer.dataset_meta,
    ):
        assert list(meta['classes']) == [
            'ruby',
            'emerald',
            'sapphire',
            'topaz',
        ]
        assert meta['palette'][2] == [2, 2, 2]
        assert meta['unseen'] == [1]
    assert {'mIoU_seen', 'mIoU_unseen', 'hIoU'} <= set(metrics)


@pytest.mark.parametrize('own', [False, True])
def test_colours_of_the_data_set_for_a_list_of_words(own):
    names = ADE20KDataset.METAINFO['classes']
    words = [name.upper() for name in names]
    palette = [[i, 0, i] for i in range(150)]
    spec = dict(class_texts=words, palette=palette) if own else words
    found = _meta_of(ADE20KDataset(lazy_init=True), spec)
    expected = palette if own else ADE20KDataset.METAINFO['palette']
    assert found['palette'] == expected
    assert found['classes'] == words


def test_colours_that_mmseg_draws_at_random_are_left():
    class NoColours(BaseSegDataset):
        METAINFO = dict(classes=('cat', 'dog'))

    found = _meta_of(NoColours(lazy_init=True), ['cat', 'dog'])
    assert found['palette'] == [list(c) for c in class_palette(['cat', 'dog'])]


def _meta_of(dataset, words):
    """What the hook hands over for a data set and words of the model."""
    model = SimpleNamespace(vocabulary=load_vocabulary(words))
    loop = SimpleNamespace(
        dataloader=SimpleNamespace(dataset=dataset),
        evaluator=SimpleNamespace(),
    )
    runner = SimpleNamespace(
        model=model, test_loop=loop, visualizer=SimpleNamespace()
    )
    VocabularyHook().before_test(runner)
    assert runner.visualizer.dataset_meta == loop.evaluator.dataset_meta
    return loop.evaluator.dataset_meta


def test_unseen_labels_of_the_data_set(tiny_cfg):
    tiny_cfg.val_dataloader.dataset.vocabulary = dict(
        class_texts=list(tiny_cfg.vocabulary), unseen=[3]
    )
    runner = Runner.from_cfg(tiny_cfg)
    runner.val()
    assert runner.val_evaluator.dataset_meta['unseen'] == [3]


def test_words_are_encoded_once_and_anew_after_training(
    tiny_cfg, monkeypatch, tmp_path
):
    monkeypatch.setenv('OVSEG_CACHE', str(tmp_path / 'cache'))
    tiny_cfg.train_cfg.update(max_iters=4, val_interval=2)
    runner = Runner.from_cfg(tiny_cfg)
    encoder, modes = runner.model.text_encoder, []
    encoder.register_forward_hook(lambda *_: modes.append(encoder.training))
    runner.train()
    # Two iterations, a validation of five images and more windows, again.
    assert modes == [True, True, False] * 2


def test_data_of_mmsegmentation_trains_the_seen_part(tiny_cfg, monkeypatch):
    words = list(tiny_cfg.vocabulary)
    split = dict(class_texts=words, unseen=[1])
    tiny_cfg.model.train_vocabulary = dict(split, subset='seen')
    loaded = tiny_cfg.train_dataloader.dataset
    losses = []
    for source in (
        dict(loaded, vocabulary=split, unseen_labels='ignore'),
        dict(
            type='BaseSegDataset',
            metainfo=dict(classes=words),
            **{
                key: value
                for key, value in loaded.items()
                if key not in ('type', 'vocabulary', 'unseen_labels')
            },
        ),
    ):
        tiny_cfg.train_dataloader.dataset = source
        runner = Runner.from_cfg(tiny_cfg)
        seen = []
        original = runner.model._losses
        monkeypatch.setattr(
            runner.model,
            '_losses',
            lambda inputs, labels, f=original, s=seen: (
                s.append(labels),
                f(inputs, labels),
            )[1],
        )
        runner.train()
        losses.append(seen)
    for ours, theirs in zip(*losses, strict=True):
        assert ours.equal(theirs)
        assert ours[ours != 255].max() < len(words) - 1
