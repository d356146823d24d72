# SPDX-License-Identifier: Apache-2.0
"""Label maps against plain loops over windows and classes."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.vocabulary import load_vocabulary

SLIDE = dict(mode='slide', crop_size=(32, 32), stride=(20, 24))
# Two objects and, as in VOC 20b, several words for the background.
MAPPED = dict(
    class_texts=['cat', 'dog', 'tree', 'blue sky', 'a red car'],
    label_names=['cat', 'dog', 'background'],
    prompt_to_label=[0, 1, 2, 2, 2],
)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def bilinear(x, size):
    return F.interpolate(x[None], size, mode='bilinear', align_corners=False)[
        0
    ]


def naive_whole(model, img, size):
    """Scores of all words: sigmoid of the logits, then resized."""
    return bilinear(model.encode_decode(img[None])[0].sigmoid(), size)


def naive_slide(model, img, size):
    """The same from windows of 32 pixels in steps of 20 and 24."""
    height, width = img.shape[1:]
    padded = F.pad(img, (0, max(32 - width, 0), 0, max(32 - height, 0)))
    num_texts = model.vocabulary.num_texts
    total = torch.zeros(num_texts, *padded.shape[1:])
    count = torch.zeros(padded.shape[1:])
    tops = sorted({min(t, max(height - 32, 0)) for t in range(0, 200, 20)})
    lefts = sorted({min(x, max(width - 32, 0)) for x in range(0, 200, 24)})
    for top in tops:
        for left in lefts:
            window = padded[:, top : top + 32, left : left + 32]
            logits = bilinear(model.encode_decode(window[None])[0], (32, 32))
            total[:, top : top + 32, left : left + 32] += logits.sigmoid()
            count[top : top + 32, left : left + 32] += 1
    return bilinear((total / count)[:, :height, :width], size)


def assert_labels(sample, scores, table=None):
    expected = scores.argmax(dim=0)
    if table is not None:
        expected = torch.tensor(table)[expected]
    labels = sample.pred_sem_seg.data
    assert labels.dtype == torch.int64
    assert labels.shape == (1, *scores.shape[1:])
    assert len(expected.unique()) > 1, 'the test could not fail'
    # Rounding may turn a tie.
    assert (labels[0] == expected).float().mean() > 0.999


@pytest.mark.parametrize('size', [(40, 48), (67, 50)])
def test_whole(build, sample_of, size):
    model = build()
    img = torch.randn(3, 40, 48)
    (result,) = model.predict(img[None], [sample_of(ori_shape=size)])
    assert 'seg_logits' not in result
    assert_labels(result, naive_whole(model, img, size))


@pytest.mark.parametrize(
    'shape', [(32, 32), (52, 80), (61, 45), (20, 50), (60, 17), (9, 8)]
)
def test_slide(build, sample_of, shape):
    model = build(test_cfg=dict(SLIDE, keep_scores=True))
    img, size = torch.randn(3, *shape), (70, 33)
    (result,) = model.predict(img[None], [sample_of(ori_shape=size)])
    expected = naive_slide(model, img, size)
    torch.testing.assert_close(result.seg_logits.data, expected)
    assert_labels(result, expected)


def test_size_of_the_input_where_none_is_known(build, sample_of):
    for cfg in (dict(), SLIDE, dict(SLIDE, canvas=(64, 64))):
        model = build(test_cfg=dict(cfg))
        img = torch.randn(2, 3, 40, 50)
        for samples in (None, [sample_of(), sample_of()]):
            results = model.predict(img, samples)
            known = [sample_of(ori_shape=(40, 50)) for _ in range(2)]
            expected = model.predict(img, known)
            assert len(results) == 2
            for result, wanted in zip(results, expected):
                labels = result.pred_sem_seg.data
                assert labels.shape == (1, 40, 50)
                assert torch.equal(labels, wanted.pred_sem_seg.data)


def test_one_window_is_the_whole(build, sample_of):
    img = torch.randn(3, 32, 32)
    results = []
    for mode in ('whole', 'slide'):
        cfg = dict(SLIDE, mode=mode, keep_scores=True)
        model = build(decode_head=dict(score='logits'), test_cfg=cfg)
        sample = sample_of(ori_shape=(32, 32))
        (result,) = model.predict(img[None], [sample])
        results.append(result.seg_logits.data)
    torch.testing.assert_close(*results)
    cfg = dict(SLIDE, stride=(8, 8), keep_scores=True)
    model = build(decode_head=dict(score='logits'), test_cfg=cfg)
    img = torch.randn(3, 48, 48)
    (slid,) = model.predict(img[None])
    model.test_cfg['mode'] = 'whole'
    (whole,) = model.predict(img[None])
    assert not torch.allclose(
        slid.seg_logits.data, whole.seg_logits.data, atol=1e-2
    )


@pytest.mark.parametrize('keep_scores', [False, True])
def test_labels_are_those_of_the_vocabulary(build, sample_of, keep_scores):
    cfg = dict(SLIDE, keep_scores=keep_scores)
    model = build(vocabulary=MAPPED, train_vocabulary=['x'], test_cfg=cfg)
    assert model.num_classes == model.out_channels == 3
    img = torch.randn(3, 52, 80)
    (result,) = model.predict(img[None], [sample_of(ori_shape=(52, 80))])
    scores = naive_slide(model, img, (52, 80))
    assert_labels(result, scores, [0, 1, 2, 2, 2])
    assert int(result.pred_sem_seg.data.max()) == 2
    if keep_scores:
        merged = torch.stack([scores[0], scores[1], scores[2:].amax(dim=0)])
        torch.testing.assert_close(result.seg_logits.data, merged)
    assert model.dataset_meta['classes'] == ['cat', 'dog', 'background']


@pytest.mark.parametrize(
    ('direction', 'axes'),
    [('horizontal', [2]), ('vertical', [1]), ('diagonal', [1, 2])],
)
def test_flips_are_undone(build, sample_of, direction, axes):
    model = build(test_cfg=dict(SLIDE, keep_scores=True))
    img, size = torch.randn(3, 45, 60), (50, 64)
    sample = sample_of(ori_shape=size, flip=True, flip_direction=direction)
    (result,) = model.predict(img[None], [sample])
    expected = naive_slide(model, img, size).flip(axes)
    torch.testing.assert_close(result.seg_logits.data, expected)
    assert_labels(result, expected)
    sample = sample_of(ori_shape=size, flip=False, flip_direction=direction)
    (result,) = model.predict(img[None], [sample])
    assert_labels(result, expected.flip(axes))


@pytest.mark.parametrize('key', ['img_padding_size', 'padding_size'])
@pytest.mark.parametrize('cfg', [dict(mode='whole'), SLIDE])
def test_padding_is_cut_away_first(build, sample_of, key, cfg):
    model = build(test_cfg=dict(cfg, keep_scores=True))
    img = torch.randn(3, 40, 50)
    padded = F.pad(img, (3, 7, 2, 9), value=5.0)
    meta = {'ori_shape': (40, 50), key: [3, 7, 2, 9]}
    (result,) = model.predict(padded[None], [sample_of(**meta)])
    (expected,) = model.predict(img[None])
    assert torch.equal(result.seg_logits.data, expected.seg_logits.data)


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_batch_of_different_sizes(build, sample_of, mode):
    model = build(test_cfg=dict(SLIDE, mode=mode, keep_scores=True))
    shapes = (40, 50), (40, 50), (33, 70), (20, 24)
    images = [
        torch.randint(0, 255, (3, *s), dtype=torch.uint8) for s in shapes
    ]
    for step in (model.test_step, model.val_step):
        samples = [sample_of(ori_shape=shape) for shape in shapes]
        together = step(dict(inputs=images, data_samples=samples))
        assert [r.seg_logits.data.shape[1:] for r in together] == list(shapes)
        for img, shape, result in zip(images, shapes, together):
            (alone,) = model.test_step(
                dict(inputs=[img], data_samples=[sample_of(ori_shape=shape)])
            )
            torch.testing.assert_close(
                result.seg_logits.data, alone.seg_logits.data
            )


def test_window_batch_bounds_the_batch_and_changes_nothing(build):
    results, sizes = [], []
    img = torch.randn(2, 3, 72, 80)
    for count in (1, 3, 100):
        cfg = dict(SLIDE, window_batch=count, keep_scores=True)
        model = build(test_cfg=cfg)
        model.backbone.register_forward_pre_hook(
            lambda _, args: sizes.append(len(args[0]))
        )
        results.append(model.predict(img)[1].seg_logits.data)
        assert sizes[0] == max(sizes) == min(count, 18)
        assert sum(sizes) == 18
        sizes.clear()
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


def test_inference_gives_scores_of_labels_at_the_size_of_the_input(build):
    model = build(
        vocabulary=MAPPED, train_vocabulary=['x'], test_cfg=dict(SLIDE)
    )
    img = torch.randn(2, 3, 40, 60)
    scores = model.inference(img)
    for part, image in zip(scores, img):
        expected = naive_slide(model, image, (40, 60))
        torch.testing.assert_close(part[:2], expected[:2])
        torch.testing.assert_close(part[2], expected[2:].amax(dim=0))


def test_tensor_mode_gives_logits(build):
    model = build()
    img = torch.randn(2, 3, 40, 32)
    assert torch.equal(model(img), model.encode_decode(img))
    assert model(img).shape == (2, 5, 20, 16)


def test_other_words_between_two_calls(build):
    model = build(test_cfg=dict(keep_scores=True))
    img = torch.randn(1, 3, 40, 48)
    (first,) = model.predict(img)
    words = ['wall', 'cat|kitten', 'floor'] + [f'thing {i}' for i in range(9)]
    model.set_vocabulary(words)
    assert model.num_classes == model.decode_head.num_classes == 12
    assert model.dataset_meta['classes'][:2] == ['wall', 'cat']
    assert model.train_vocabulary.num_texts == 5, 'training keeps its words'
    (second,) = model.predict(img)
    (fresh,) = build(
        vocabulary=words, test_cfg=dict(keep_scores=True)
    ).predict(img)
    assert second.seg_logits.data.shape[0] == 12
    torch.testing.assert_close(second.seg_logits.data, fresh.seg_logits.data)
    model.set_vocabulary(['cat', 'dog', 'tree', 'blue sky', 'a red car'])
    (again,) = model.predict(img)
    assert torch.equal(again.seg_logits.data, first.seg_logits.data)
    with pytest.raises(ValueError, match='no class text'):
        model.set_vocabulary([])
    assert model.num_classes == 5, 'a wrong vocabulary changes nothing'


@pytest.mark.parametrize('score', ['sigmoid', 'logits'])
def test_one_word_needs_a_threshold(build, score):
    options = dict(
        vocabulary=['cat'],
        decode_head=dict(score=score),
        test_cfg=dict(keep_scores=True),
    )
    model = build(**options)
    nn_bias = model.decode_head.head.bias
    img = torch.randn(1, 3, 40, 48)
    nn_bias -= model(img).median()  # about half of the pixels
    (result,) = model.predict(img)
    scores = result.seg_logits.data[0]
    threshold = 0.5 if score == 'sigmoid' else 0.0
    expected = torch.where(scores > threshold, 0, 255)
    assert expected.unique().tolist() == [0, 255]
    assert torch.equal(result.pred_sem_seg.data[0], expected)
    model.set_vocabulary(['cat', 'dog'])
    assert int(model.predict(img)[0].pred_sem_seg.data.max()) < 2
    model.set_vocabulary(['cat'])
    model.test_cfg['threshold'] = -torch.inf
    assert not model.predict(img)[0].pred_sem_seg.data.any()


def test_threshold_leaves_pixels_unlabelled(build):
    model = build(test_cfg=dict(keep_scores=True))
    img = torch.randn(1, 3, 40, 48)
    (result,) = model.predict(img)
    best, labels = result.seg_logits.data.max(dim=0)
    model.test_cfg['threshold'] = float(best.median())
    (result,) = model.predict(img)
    expected = labels.masked_fill(best <= best.median(), 255)
    assert torch.equal(result.pred_sem_seg.data[0], expected)
    assert 255 in expected and expected.unique().numel() > 2


def test_large_vocabulary_is_unlabelled_by_65535(build):
    model = build(test_cfg=dict(threshold=2.0))
    model.set_vocabulary([f'thing {i}' for i in range(300)])
    (result,) = model.predict(torch.randn(1, 3, 16, 16))
    assert result.pred_sem_seg.data.unique().tolist() == [65535]


@pytest.mark.parametrize(
    'copied', [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_copies(build, copied):
    model = build(test_cfg=dict(SLIDE, keep_scores=True))
    img = torch.randn(1, 3, 40, 48)
    (expected,) = model.predict(img)
    other = copied(model)
    model.decode_head.head.weight.zero_()
    model.text_encoder.text_projection.zero_()
    model.set_vocabulary(['x', 'y'])
    (result,) = other.predict(img)
    assert torch.equal(result.seg_logits.data, expected.seg_logits.data)
    assert other.vocabulary == load_vocabulary(
        ['cat', 'dog', 'tree', 'blue sky', 'a red car']
    )


def test_text_is_encoded_once_for_all_images(build):
    model = build(test_cfg=dict(SLIDE))
    calls = []
    model.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        model.predict(torch.randn(2, 3, 60, 70))
    assert len(calls) <= 1, 'none where the disk has them'
    with torch.no_grad():
        model.text_encoder.text_projection.mul_(1.5)
    model.predict(torch.randn(1, 3, 32, 32))
    assert 1 <= len(calls) <= 2


def test_training_between_two_validations_changes_the_text(build, sample_of):
    model = build(test_cfg=dict(keep_scores=True))
    img = torch.randn(1, 3, 32, 32)
    (before,) = model.predict(img)
    with torch.enable_grad():
        model.train()
        labels = torch.randint(0, 5, (32, 32))
        losses = model.loss(img, [sample_of(labels)])
        sum(losses.values()).backward()
    optimizer = torch.optim.SGD(model.text_encoder.parameters(), lr=1e3)
    optimizer.step()
    model.eval()
    (after,) = model.predict(img)
    change = (after.seg_logits.data - before.seg_logits.data).abs().max()
    assert change > 1e-4
