# SPDX-License-Identifier: Apache-2.0
"""Single words, background, thresholds, templates and scores of one call."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from ovseg_mm.apis import OpenVocabInferencer
from ovseg_mm.apis.call_options import checked_templates
from ovseg_mm.toy.scenes import CLASSES, make_scene
from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import background_words, load_vocabulary

from .. import tiny

THINGS = ['striped red', 'dotted blue']
GROUNDS = ['grass', 'sand', 'water', 'stone']


@pytest.fixture(scope='module')
def inferencer():
    return OpenVocabInferencer(
        'scclip_clip-toy_toy-world-64x64',
        device='cpu',
        cfg_options={'model.test_cfg.refine': None},
    )


@pytest.fixture(scope='module')
def scene():
    return make_scene(np.random.default_rng(0), (64, 64), THINGS)


@pytest.fixture(scope='module')
def truth(scene):
    return scene.labels == CLASSES.index('striped red')


def overlap(result, truth, name='striped red') -> float:
    mask = result.masks().get(name, np.zeros_like(truth))
    return (mask & truth).sum() / (mask | truth).sum()


def test_one_word_marks_what_it_names(inferencer, scene, truth):
    assert 0.02 < truth.mean() < 0.5
    result = inferencer(scene.image, ['striped red'])
    assert overlap(result, truth) > 0.6
    assert set(np.unique(result.labels)) == {0, 255}
    everything = inferencer(scene.image, ['striped red'], background='none')
    assert everything.shares() == {'striped red': 1.0}


def test_words_of_the_background_are_not_reported(inferencer, scene):
    without = inferencer(scene.image, THINGS)
    assert sum(without.shares().values()) == 1
    result = inferencer(scene.image, THINGS, background=GROUNDS)
    assert set(result.shares()) == set(THINGS)
    assert result.class_names == tuple(THINGS)
    ground = np.isin(scene.labels, [CLASSES.index(g) for g in GROUNDS])
    assert (result.labels[ground] == 255).mean() > 0.9
    blue = scene.labels == CLASSES.index('dotted blue')
    better = [
        overlap(found, blue, 'dotted blue') for found in (without, result)
    ]
    assert better[1] > better[0] + 0.2
    # The same as words of one's own whose pixels are left out.
    every = inferencer(scene.image, [*THINGS, *GROUNDS])
    found = np.where(every.labels < 2, every.labels, 255)
    assert np.array_equal(result.labels, found)


def test_a_class_named_background_gets_the_background(inferencer, scene):
    words = [*THINGS, 'background']
    for options in (dict(background=GROUNDS), dict(score_threshold=0.9)):
        named = inferencer(scene.image, words, **options)
        assert named.labels.max() == 2 and named.shares()['background'] > 0


def test_thresholds_are_of_one_call(inferencer, scene):
    result = inferencer(scene.image, THINGS, scores='all')
    best = result.scores.max(axis=0)
    for options in (
        dict(score_threshold=0.8),
        dict(score_threshold=0.8, background='threshold'),
    ):
        unsure = inferencer(scene.image, THINGS, **options)
        expected = np.where(best < 0.8, 255, result.labels)
        assert np.array_equal(unsure.labels, expected)
    assert 255 in expected and expected.min() == 0
    again = inferencer(scene.image, THINGS)
    assert np.array_equal(again.labels, result.labels)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(background='threshold'), 'no default threshold; give a'),
        (dict(background='treshold'), "did you mean 'threshold'"),
        (dict(background=['']), 'empty class text'),
        (dict(background='none', score_threshold=0.3), 'labels every pixel'),
        (dict(score_threshold='high'), "score_threshold='high' is not a num"),
        (dict(scores='top'), "scores='top' cannot be used; give 'all'"),
        (dict(scores=0), 'scores=0 cannot be used'),
        (dict(scores=True), 'scores=True cannot be used'),
        (dict(templates='imagnet'), "no template set 'imagnet'"),
        (dict(templates=['a photo']), 'exactly one {}'),
        (dict(batch_size=0), 'batch_size=0 is not'),
    ],
)
def test_wrong_options(inferencer, options, message):
    with pytest.raises(InputError, match=message):
        inferencer('no such file.png', THINGS, **options)


def test_coco_words_leave_out_what_is_asked_for():
    words = load_vocabulary(['a red car', 'sofa|couch', 'walls', 'sky'])
    found = background_words('coco', words).names
    for word in ('car', 'couch', 'wall brick', 'sky', 'wall'):
        assert word not in found
    for word in ('bus', 'building', 'floor tile', 'mirror', 'person'):
        assert word in found
    assert not any(word.endswith(('-other', '-stuff')) for word in found)
    given = background_words(['red car', 'wall|fence'], words)
    assert given.class_texts == (('red car',), ('wall', 'fence'))
    every = load_vocabulary('coco')
    assert background_words('coco', every) is None


def test_templates_are_those_of_one_call(inferencer, scene):
    own = inferencer.model.text_bank.templates
    plain = inferencer(scene.image, CLASSES, scores='all').scores
    one = inferencer(scene.image, CLASSES, scores='all', templates='a {}')
    assert inferencer.model.text_bank.templates == own
    assert not np.allclose(one.scores, plain)
    same = inferencer(scene.image, CLASSES, scores='all', templates=own)
    np.testing.assert_allclose(same.scores, plain, atol=1e-5)
    again = inferencer(scene.image, CLASSES, scores='all').scores
    assert np.array_equal(again, plain)


def test_templates_of_models_that_take_none_or_some():
    cfg = tiny.cat_seg(decode_head=dict(prompt_channels=2))
    model = MODELS.build(dict(cfg, prompts=dict(templates=['{}', 'a {}'])))
    assert checked_templates(model, None) is None
    pair = ['the {}', 'one {}']
    assert checked_templates(model, pair) == pair
    with pytest.raises(InputError, match='CAT-Seg was trained with 2 templ'):
        checked_templates(model, 'a {}')
    learned = dict(type='CLIPPromptedTextTransformer', prefix_length=4)
    model = MODELS.build(dict(tiny.cat_seg(), text_encoder=learned))
    with pytest.raises(InputError, match='has learned a prompt'):
        checked_templates(model, 'a {}')


def test_best_labels_of_each_pixel(inferencer, scene):
    every = inferencer(scene.image, CLASSES, scores='all')
    best = inferencer(scene.image, CLASSES, scores=3)
    assert best.scores.shape == best.score_labels.shape == (3, 64, 64)
    assert best.scores.dtype == np.float16
    assert np.array_equal(best.score_labels[0], best.labels)
    np.testing.assert_allclose(
        best.scores, np.sort(every.scores, axis=0)[:-4:-1], atol=1e-3
    )
    few = inferencer(scene.image, THINGS, scores=5)
    assert few.scores.shape == (2, 64, 64)


def test_images_of_any_size_share_batches(inferencer, scene, monkeypatch):
    model = inferencer.model
    image = np.tile(scene.image, (2, 2, 1))
    sizes = [(64, 64), (80, 100), (64, 90), (64, 64), (40, 64)]
    pictures = [image[:height, :width] for height, width in sizes]
    alone = [inferencer(p, THINGS, scores='all') for p in pictures]
    batches = []
    encode = model.encode_decode

    def counted(views):
        batches.append(tuple(views.shape))
        return encode(views)

    monkeypatch.setattr(model, 'encode_decode', counted)
    results = inferencer(pictures, THINGS, scores='all', batch_size=4)
    # 1 + 6 + 2 + 1 windows, then the image that is smaller than a window.
    assert batches == [(8, 3, 64, 64), (2, 3, 64, 64), (1, 3, 40, 64)]
    for result, want in zip(results, alone, strict=True):
        np.testing.assert_allclose(result.scores, want.scores, atol=1e-5)
        assert (result.labels == want.labels).mean() > 0.999


def test_threads_do_not_mix_backgrounds_and_templates(inferencer, scene):
    calls = [
        dict(),
        dict(background=GROUNDS),
        dict(background='none'),
        dict(templates='a {}'),
        dict(score_threshold=0.8),
    ] * 3
    expected = [inferencer(scene.image, THINGS, **call) for call in calls]
    with ThreadPoolExecutor(4) as threads:
        results = threads.map(
            lambda call: inferencer(scene.image, THINGS, **call), calls
        )
        for result, want in zip(results, expected, strict=True):
            assert np.array_equal(result.labels, want.labels)


@pytest.mark.parametrize('method', tiny.METHODS)
def test_one_word_in_every_method(method):
    """The score decides, which is a sigmoid or compared with other words."""
    torch.manual_seed(0)
    model = MODELS.build(tiny.METHODS[method]())
    model.init_weights()
    model.eval()
    model.set_vocabulary(['cat'])
    model.test_cfg['keep_scores'] = True
    img = torch.randint(0, 255, (3, 64, 48), dtype=torch.uint8)
    data = dict(inputs=[img], data_samples=[SegDataSample()])

    def labels_and_scores(**options):
        own = model.test_cfg
        model.test_cfg = copy.copy(own)
        model.test_cfg.update(options)
        with torch.no_grad():
            (result,) = model.test_step(copy.deepcopy(data))
        model.test_cfg = own
        return result.pred_sem_seg.data[0], result.seg_logits.data

    labels, scores = labels_and_scores()
    assert set(labels.unique().tolist()) <= {0, 255}
    assert scores.shape == (1, 64, 48) and scores.isfinite().all()
    names = model.scored_vocabulary.names
    if model.decode_head.compares_texts:
        assert len(names) == 27
        model.set_vocabulary(list(names))
        every, _ = labels_and_scores()
        assert torch.equal(labels == 0, every == 0)
    else:
        assert names == ('cat',)
        assert torch.equal(
            labels == 0, scores[0] > model.decode_head.threshold
        )
        # Neither all pixels nor none by construction.
        half = float(scores.median())
        part, _ = labels_and_scores(threshold=half)
        assert set(part.unique().tolist()) == {0, 255}


@pytest.mark.parametrize('method', tiny.METHODS)
def test_words_of_the_background_in_every_method(method):
    model = MODELS.build(tiny.METHODS[method]())
    model.init_weights()
    model.eval()
    img = torch.randint(0, 255, (3, 64, 48), dtype=torch.uint8)
    data = dict(inputs=[img], data_samples=[SegDataSample()])
    words = ['cat', 'dog', 'tree', 'a red car']

    def labels_of(words, **options):
        model.set_vocabulary(words)
        model.test_cfg.update(dict(keep_scores=False, others=[]) | options)
        with torch.no_grad():
            (result,) = model.test_step(copy.deepcopy(data))
        return result.pred_sem_seg.data[0]

    every = labels_of(words)
    found = labels_of(words[:2], others=words[2:])
    expected = torch.where(every < 2, every, 255)
    assert torch.equal(found, expected)


def test_scores_before_they_become_labels(inferencer, scene):
    """What tiles of a raster are fused from."""
    for options in (dict(), dict(background=GROUNDS, score_threshold=0.6)):
        expected = inferencer(scene.image, THINGS, **options).labels
        with inferencer.scored(scene.image, THINGS, **options) as found:
            scores, labelling = found
            labels = labelling.labels(scores.of)
        assert np.array_equal(labels, expected)
    assert 255 in expected
