# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric
from PIL import Image

from ovseg_mm.evaluation import OpenVocabIoUMetric
from ovseg_mm.utils.errors import InputError


def sample(prediction, truth=None, **info):
    def data(labels):
        return dict(data=torch.as_tensor(np.asarray(labels))[None])

    result = dict(info, pred_sem_seg=data(prediction))
    result.setdefault('img_path', 'images/a.jpg')
    if truth is not None:
        result['gt_sem_seg'] = data(truth)
    return result


def make_metric(num_labels, unseen=(), **kwargs):
    metric = OpenVocabIoUMetric(**kwargs)
    metric.dataset_meta = dict(
        classes=[f'c{i}' for i in range(num_labels)], unseen=list(unseen)
    )
    return metric


def evaluate(metric, samples):
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_both_rules_by_hand():
    # Truth holds classes 0 and 1; 2 is predicted only; 3 is nowhere.
    truth = [[0, 0, 0, 0], [1, 1, 255, 255]]
    prediction = [[0, 0, 0, 2], [1, 0, 2, 3]]
    result = evaluate(make_metric(4), [sample(prediction, truth)])
    # IoU_0 = 3 / (4 + 4 - 3), IoU_1 = 1 / (2 + 1 - 1)
    assert result['mIoU'] == pytest.approx(100 * (3 / 5 + 1 / 2) / 2)
    assert result['mIoU_union'] == pytest.approx(100 * (3 / 5 + 1 / 2) / 3)
    assert result['aAcc'] == pytest.approx(100 * 4 / 6)
    assert result['mAcc'] == pytest.approx(100 * (3 / 4 + 1 / 2) / 2)
    assert result['fwIoU'] == pytest.approx(100 * (4 * 3 / 5 + 2 * 1 / 2) / 6)
    assert set(result) == {'mIoU', 'mIoU_union', 'aAcc', 'mAcc', 'fwIoU'}


def slow_scores(pairs, num_labels, ignore):
    """Count with plain loops over pixels and classes."""
    iou, acc, union = {}, {}, set()
    for label in range(num_labels):
        hit = truths = predictions = 0
        for prediction, truth in pairs:
            for p, t in zip(prediction.flat, truth.flat, strict=True):
                if t != ignore:
                    hit += p == label and t == label
                    truths += t == label
                    predictions += p == label
        if truths + predictions:
            union.add(label)
        if truths:
            iou[label] = hit / (truths + predictions - hit)
            acc[label] = hit / truths
    return iou, acc, union


@pytest.mark.parametrize('num_labels', [3, 12, 300])
def test_against_plain_loops(num_labels):
    rng = np.random.default_rng(num_labels)
    ignore = 255 if num_labels <= 255 else 65535
    used = rng.choice(num_labels, size=3, replace=False)
    pairs = []
    for shape in [(3, 5), (4, 2), (1, 1)]:
        truth = rng.choice([*used, ignore], size=shape)
        prediction = rng.choice([*used, 0, num_labels - 1], size=shape)
        pairs.append((prediction, truth))
    # 255 is a class like any other where there are more than 255.
    if num_labels > 255:
        pairs.append((np.array([[255, 255]]), np.array([[255, ignore]])))
    unseen = [int(used[0])]
    result = evaluate(
        make_metric(num_labels, unseen), [sample(p, t) for p, t in pairs]
    )
    iou, acc, union = slow_scores(pairs, num_labels, ignore)
    total = sum(iou.values())
    assert result['mIoU'] == pytest.approx(100 * total / len(iou))
    assert result['mIoU_union'] == pytest.approx(100 * total / len(union))
    assert result['mAcc'] == pytest.approx(100 * sum(acc.values()) / len(acc))
    # A class that was predicted alone counts as 0.
    seen = [iou.get(label, 0) for label in union if label not in unseen]
    assert num_labels == 3 or len(union) > len(iou)
    s, u = 100 * sum(seen) / len(seen), 100 * iou[unseen[0]]
    assert result['mIoU_seen'] == pytest.approx(s)
    assert result['mIoU_unseen'] == pytest.approx(u)
    harmonic = 0 if s + u == 0 else 2 * s * u / (s + u)
    assert result['hIoU'] == pytest.approx(harmonic)


def test_union_rule_is_mmsegs():
    rng = np.random.default_rng(0)
    samples = [
        sample(rng.integers(0, 9, (20, 30)), rng.integers(0, 6, (20, 30)))
        for _ in range(3)
    ]
    ours = evaluate(make_metric(10), samples)
    stock = IoUMetric()
    stock.dataset_meta = dict(classes=[str(i) for i in range(10)])
    theirs = evaluate(stock, samples)
    assert ours['mIoU_union'] == pytest.approx(theirs['mIoU'], abs=0.006)
    assert ours['aAcc'] == pytest.approx(theirs['aAcc'], abs=0.006)
    assert ours['mAcc'] == pytest.approx(theirs['mAcc'], abs=0.006)
    assert ours['mIoU'] > ours['mIoU_union']


def test_large_counts_stay_exact():
    # 2**24 + 1 pixels are one too many for float32.
    metric = make_metric(2)
    # Pairs are truth * 3 + prediction.
    many = (np.array([0, 4]), np.array([2**24, 1]))
    result = metric.compute_metrics([many, many])
    assert result['aAcc'] == 100
    one = metric.compute_metrics([many, (np.array([1]), np.array([1]))])
    expected = 100 * (2**24 + 1) / (2**24 + 2)
    assert one['aAcc'] == pytest.approx(expected, rel=1e-12)


def test_padded_samples_of_two_processes_do_not_count():
    rng = np.random.default_rng(1)
    samples = [
        sample(rng.integers(0, 4, (6, 7)), rng.integers(0, 4, (6, 7)))
        for _ in range(3)
    ]
    expected = evaluate(make_metric(4), samples)
    # The sampler repeats the first sample to give both processes two.
    ranks = [make_metric(4), make_metric(4)]
    ranks[0].process({}, [samples[0], samples[2]])
    ranks[1].process({}, [samples[1], samples[0]])
    collected = [
        result
        for pair in zip(ranks[0].results, ranks[1].results, strict=True)
        for result in pair
    ]
    assert ranks[0].compute_metrics(collected[:3]) == expected
    assert ranks[0].compute_metrics(collected) != expected


def test_results_of_an_image_are_small():
    metric = make_metric(847)
    labels = np.zeros((400, 400), dtype=np.int64)
    metric.process({}, [sample(labels, labels)])
    pairs, pixels = metric.results[0]
    assert pairs.tolist() == [0]
    assert pixels.tolist() == [160000]


def test_unseen_classes_of_the_data_set_are_averaged_apart():
    truth, prediction = [[0, 1, 2, 2]], [[0, 1, 2, 0]]
    metric = make_metric(3, unseen=[2])
    result = evaluate(metric, [sample(prediction, truth)])
    assert result['mIoU_seen'] == pytest.approx(100 * (1 / 2 + 1) / 2)
    assert result['mIoU_unseen'] == pytest.approx(50)
    assert result['hIoU'] == pytest.approx(2 * 75 * 50 / 125)


def test_nothing_to_average_is_nan_and_no_crash():
    result = evaluate(
        make_metric(3, unseen=[2]), [sample([[1, 1]], [[255, 255]])]
    )
    assert all(math.isnan(value) for value in result.values())
    wrong = evaluate(make_metric(2, unseen=[1]), [sample([[1, 0]], [[0, 1]])])
    assert (wrong['mIoU'], wrong['hIoU']) == (0, 0)


def test_table_marks_unseen_classes(caplog):
    metric = make_metric(3, unseen=[1])
    with caplog.at_level('INFO', logger='mmengine'):
        from mmengine.logging import MMLogger

        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        try:
            evaluate(metric, [sample([[0, 1, 2]], [[0, 1, 1]])])
        finally:
            logger.removeHandler(caplog.handler)
    assert '| c1 (unseen) | 50.00  | 50.00  |' in caplog.text
    assert 'mean over the 2 of 3 classes' in caplog.text
    assert 'the 1 classes that were predicted but do not occur' in caplog.text


@pytest.mark.parametrize(
    ('prediction', 'truth', 'message'),
    [
        ([[0, 1]], [[0, 7]], 'labels/a.png holds the label values 7, but'),
        ([[0, 1]], [[-1, 0]], 'label values -1'),
        ([[0, 2]], [[0, 1]], 'prediction for labels/a.png holds label 2'),
        ([[0, 1, 1]], [[0, 1]], r'shape \(1, 2\).* shape \(1, 3\)'),
        ([[0, 1]], None, 'no labels for labels/a.png'),
    ],
)
def test_what_does_not_fit_is_named(prediction, truth, message):
    metric = make_metric(2)
    with pytest.raises(InputError, match=message):
        metric.process(
            {}, [sample(prediction, truth, seg_map_path='labels/a.png')]
        )


def test_wrong_arguments():
    with pytest.raises(InputError, match='but no output_dir'):
        OpenVocabIoUMetric(format_only=True)
    with pytest.raises(InputError, match=r'has the unseen labels \[2\]'):
        make_metric(2, unseen=[2])


@pytest.mark.parametrize(
    ('num_labels', 'shift', 'dtype'),
    [
        (255, False, np.uint8),
        (255, True, np.uint8),
        (256, False, np.uint16),
        (300, False, np.uint16),
    ],
)
def test_files_hold_every_label(tmp_path, num_labels, shift, dtype):
    metric = make_metric(num_labels, output_dir=tmp_path, format_only=True)
    labels = np.array([[0, 7, num_labels - 1]])
    info = dict(
        img_path='x/images/b.jpg',
        sample_name='sub__b',
        reduce_zero_label=shift,
    )
    result = evaluate(metric, [sample(labels, **info), sample(labels)])
    assert result == {}
    read = np.array(Image.open(tmp_path / 'sub__b.png'))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, labels + shift)
    assert {f.name for f in tmp_path.iterdir()} == {'sub__b.png', 'a.png'}


def test_files_undo_the_label_map(tmp_path):
    metric = make_metric(21, output_dir=tmp_path, format_only=True)
    label_map = {0: 20, **{value: value - 1 for value in range(1, 21)}}
    evaluate(metric, [sample([[0, 19, 20]], label_map=label_map)])
    read = np.array(Image.open(tmp_path / 'a.png'))
    assert read.tolist() == [[1, 20, 0]]


def test_files_and_figures_together(tmp_path):
    folder = tmp_path / 'new' / 'out'
    metric = make_metric(3, output_dir=str(folder), keep_results=True)
    result = evaluate(metric, [sample([[0, 2]], [[0, 2]])])
    assert result['mIoU'] == 100
    assert (folder / 'a.png').is_file()


def test_names_that_lead_out_of_the_folder_are_refused(tmp_path):
    folder = tmp_path / 'a' / 'out'
    metric = make_metric(3, output_dir=folder, format_only=True)
    for name in ('../../x', str(tmp_path / 'x')):
        with pytest.raises(InputError, match=f'{name}.* leads out of the fol'):
            evaluate(metric, [sample([[0, 2]], sample_name=name)])
    assert [path.name for path in tmp_path.rglob('*.png')] == []


def random_maps(num_labels, count=3):
    rng = np.random.RandomState(0)
    for _ in range(count):
        truth = rng.randint(0, num_labels - 1, (20, 30))
        truth[:2] = 255
        yield rng.randint(1, num_labels - 1, (20, 30)), truth


@pytest.mark.parametrize('nan_to_num', [None, 0, -1])
def test_arguments_of_the_stock_metric(nan_to_num):
    """Class 0 is never predicted, the last one is nowhere."""
    options = dict(
        ignore_index=255,
        iou_metrics=['mIoU', 'mDice', 'mFscore'],
        nan_to_num=nan_to_num,
        beta=2,
        collect_device='cpu',
        output_dir=None,
        format_only=False,
    )
    stock = IoUMetric(**options)
    stock.dataset_meta = dict(classes=[f'c{i}' for i in range(6)])
    samples = [sample(*maps) for maps in random_maps(6)]
    wanted = evaluate(stock, samples)
    found = evaluate(make_metric(6, **options), samples)
    for key in ('mDice', 'mFscore', 'mPrecision', 'mRecall', 'aAcc'):
        assert found[key] == pytest.approx(wanted[key], abs=0.006), key
    if nan_to_num is None:
        assert found['mIoU_union'] == pytest.approx(wanted['mIoU'], abs=0.006)
    prefixed = make_metric(6, prefix='val', iou_metrics='mDice')
    assert 'val/mDice' in evaluate(prefixed, samples)


def test_unknown_iou_metrics_are_refused():
    with pytest.raises(InputError, match='mBoundary'):
        OpenVocabIoUMetric(iou_metrics=['mIoU', 'mBoundary'])


def test_scores_of_each_class():
    samples = [sample([[0, 0, 1]], [[0, 1, 1]])]
    metric = make_metric(3, unseen=[1], per_class=True)
    found = evaluate(metric, samples)
    assert found['IoU.c0'] == found['IoU.c1'] == 50.0
    assert found['Acc.c0'] == 100.0 and found['Acc.c1'] == 50.0
    assert math.isnan(found['IoU.c2'])
    assert metric.figures == list(found)
    assert make_metric(3).figures == [
        'mIoU',
        'mIoU_union',
        'aAcc',
        'mAcc',
        'fwIoU',
    ]
