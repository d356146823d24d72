# SPDX-License-Identifier: Apache-2.0
"""Figures against scikit-learn, by hand, and against SCAN's evaluator."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    jaccard_score,
)

from ovseg_mm.evaluation import OpenVocabIoUMetric
from ovseg_mm.evaluation.scores import (
    averages,
    class_scores,
    load_relations,
    zero_shot_averages,
)
from ovseg_mm.utils.errors import InputError

from ..parity.seeded import seeded_labels


def run_metric(num_labels, pairs, unseen=(), **kwargs):
    metric = OpenVocabIoUMetric(**kwargs)
    metric.dataset_meta = dict(
        classes=[f'c{i}' for i in range(num_labels)], unseen=list(unseen)
    )
    for prediction, truth in pairs:
        sample = dict(
            img_path='x.jpg',
            pred_sem_seg=dict(data=torch.as_tensor(prediction)[None]),
            gt_sem_seg=dict(data=torch.as_tensor(truth)[None]),
        )
        metric.process({}, [sample])
    return metric.evaluate(len(pairs)), metric


@pytest.mark.parametrize('num_labels', [4, 20, 459])
def test_against_scikit_learn(num_labels):
    rng = np.random.default_rng(num_labels)
    ignore = 255 if num_labels <= 255 else 65535
    # Some classes occur in the truth, others are predicted alone.
    truths = rng.choice(num_labels, size=num_labels // 2, replace=False)
    pairs = []
    for shape in [(37, 41), (20, 64), (50, 50)]:
        truth = rng.choice(truths, size=shape)
        wrong = rng.integers(0, num_labels, shape)
        prediction = np.where(rng.random(shape) < 0.6, truth, wrong)
        truth[rng.random(shape) < 0.1] = ignore
        pairs.append((prediction, truth))
    # Half of each.
    unseen = np.arange(num_labels)[::2]
    result, _ = run_metric(num_labels, pairs, unseen)

    prediction = np.concatenate([p.ravel() for p, _ in pairs])
    truth = np.concatenate([t.ravel() for _, t in pairs])
    counted = truth != ignore
    prediction, truth = prediction[counted], truth[counted]
    present = np.unique(truth)

    def jaccard(labels, **kwargs):
        return 100 * jaccard_score(
            truth, prediction, labels=labels, average='macro', **kwargs
        )

    assert result['mIoU'] == pytest.approx(jaccard(present))
    union = 100 * jaccard_score(truth, prediction, average='macro')
    assert result['mIoU_union'] == pytest.approx(union)
    assert union < result['mIoU']
    assert result['aAcc'] == pytest.approx(
        100 * accuracy_score(truth, prediction)
    )
    with pytest.warns(UserWarning, match='not in y_true'):
        balanced = balanced_accuracy_score(truth, prediction)
    assert result['mAcc'] == pytest.approx(100 * balanced)
    weighted = jaccard_score(
        truth, prediction, labels=present, average='weighted'
    )
    assert result['fwIoU'] == pytest.approx(100 * weighted)
    # Over the union: some classes were predicted that do not occur.
    counted = np.union1d(truth, prediction)
    unseen = np.intersect1d(unseen, counted)
    seen = np.setdiff1d(counted, unseen)
    assert len(counted) > len(present)
    s, u = jaccard(seen), jaccard(unseen)
    assert result['mIoU_seen'] == pytest.approx(s)
    assert result['mIoU_unseen'] == pytest.approx(u)
    # Both formulas that papers print.
    assert result['hIoU'] == pytest.approx(2 * s * u / (s + u))
    assert result['hIoU'] == pytest.approx(2 / (1 / s + 1 / u))


def test_harmonic_mean_where_a_side_is_zero():
    zero = zero_shot_averages(np.array([0.5, 0.0]), [0], [1])
    assert zero == dict(mIoU_seen=50, mIoU_unseen=0, hIoU=0)


def test_pixels_without_a_label_miss_their_class_alone():
    truth = [[0, 0, 1, 255]]
    result, _ = run_metric(2, [(np.array([[0, 255, 1, 255]]), truth)])
    # IoU_0 = 1 / (2 + 1 - 1), IoU_1 = 1
    assert result['mIoU'] == pytest.approx(75)
    assert result['mIoU_union'] == pytest.approx(75)
    assert result['aAcc'] == pytest.approx(100 * 2 / 3)


def test_guided_scores_by_hand():
    # Two of three pixels of the armchair (1) were taken for a chair (0).
    confusion = np.array([[4, 0, 0, 0], [2, 1, 0, 0], [2, 0, 0, 0]])
    plain = class_scores(confusion)
    guided = class_scores(confusion, {1: [0], 2: [1]})
    # beta = (2 + 4) / 8; TP = 1 + 2 beta; U = 3 + 1 - 1
    assert guided['IoU'].tolist() == pytest.approx([0.5, 2.5 / 3, 0])
    assert guided['Acc'].tolist() == pytest.approx([1, 2.5 / 3, 0])
    assert plain['IoU'].tolist() == pytest.approx([0.5, 1 / 3, 0])


def scan_labels(pair):
    """Truth and prediction of the evaluator's case."""
    height, width, seed = pair['height'], pair['width'], pair['seed']
    truth = seeded_labels(
        pair['gt'], height, width, pair['gt_classes'], seed, ignore_every=11
    )
    noise = seeded_labels(
        pair['pred'],
        height,
        width,
        pair['pred_classes'],
        seed,
        ignore_every=height * width,
    )
    first_parent = np.arange(256)
    first_parent[255] = 1
    first_parent[[3, 4, 5, 7, 8, 9]] = 1, 1, 2, 6, 6, 0
    left, right = width // 3, 2 * width // 3
    prediction = np.where(noise == 255, 0, noise)
    prediction[:, :left] = np.where(truth == 255, 2, truth)[:, :left]
    prediction[:, left:right] = first_parent[truth][:, left:right]
    return prediction, truth


# What SCAN's evaluator gives for these label maps, in percent.
SCAN_PAIRS = [
    dict(gt='gt0', pred='pred0', height=192, width=288, seed=5),
    dict(gt='gt1', pred='pred1', height=160, width=224, seed=6),
]
SCAN_PARENTS = {3: [1], 4: [1, 2], 5: [2], 7: [6, 8], 8: [6], 9: [0, 3, 5]}
SCAN = dict(
    plain=dict(
        mIoU_union=34.21240034,
        fwIoU=37.17890649,
        mAcc=54.70038458,
        aAcc=54.52786378,
    ),
    guided=dict(
        mIoU_union=44.26860894,
        fwIoU=47.97851521,
        mAcc=68.49445879,
        aAcc=68.12462074,
    ),
    guided_iou=[
        *(51.44092219, 42.87454324, 49.58775029, 39.64646465, 40.40359219),
        *(48.18114241, 41.13924051, 49.86019784, 55.32382570, 63.97856621),
        48.78706199,
    ],
)


def test_guided_scores_are_those_of_scan(tmp_path):
    relations = tmp_path / 'relations.json'
    relations.write_text(json.dumps(SCAN_PARENTS))
    pairs = [
        scan_labels(dict(pair, gt_classes=11, pred_classes=12))
        for pair in SCAN_PAIRS
    ]
    result, metric = run_metric(13, pairs, relations=relations)
    for key, value in SCAN['plain'].items():
        assert result[key] == pytest.approx(value, abs=1e-6)
    for key, value in SCAN['guided'].items():
        assert result[f'SG_{key}'] == pytest.approx(value, abs=1e-6)
    confusion = metric._add_up(
        [
            metric._count_pairs(
                dict(
                    img_path='x.jpg',
                    gt_sem_seg=dict(data=torch.as_tensor(truth)[None]),
                ),
                torch.as_tensor(prediction),
            )
            for prediction, truth in pairs
        ]
    )
    scores = class_scores(confusion, SCAN_PARENTS)
    iou = scores['IoU']
    assert (100 * iou[:11]).tolist() == pytest.approx(
        SCAN['guided_iou'], abs=1e-6
    )
    # They do not occur in the truth.
    assert np.isnan(scores['Acc'][11:]).all()
    assert not np.nan_to_num(iou[11:]).any()


def test_relations_by_name_and_number(tmp_path):
    names = ['chair', 'armchair', 'sofa']
    path = tmp_path / 'kinds.json'
    path.write_text('{"armchair": ["chair"], "2": [0, "armchair"]}')
    assert load_relations(path, names) == {1: [0], 2: [0, 1]}
    for content, message in (
        ('{"stool": ["chair"]}', "contains 'stool'"),
        ('{"sofa": [3]}', 'contains 3'),
        ('["chair"]', 'must hold a JSON object'),
        ('{"sofa": "chair"}', 'must hold a JSON object'),
        ('{', 'not valid JSON'),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            load_relations(path, names)
    with pytest.raises(FileNotFoundError, match='nowhere.json'):
        load_relations(tmp_path / 'nowhere.json', names)


def test_wrong_relations_are_found_before_the_first_image(tmp_path):
    path = tmp_path / 'kinds.json'
    path.write_text('{"stool": ["chair"]}')
    metric = OpenVocabIoUMetric(relations=path)
    with pytest.raises(InputError, match="contains 'stool'"):
        metric.dataset_meta = dict(classes=['chair', 'sofa'])


def test_nothing_counted():
    nothing = np.zeros((3, 4), dtype=np.int64)
    assert all(
        np.isnan(value)
        for value in averages(nothing, class_scores(nothing)).values()
    )
