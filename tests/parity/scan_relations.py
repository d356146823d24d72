# SPDX-License-Identifier: Apache-2.0
"""SG-IoU of SCAN's cases, through the metric."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from seeded import seeded_labels

from ovseg_mm.evaluation import OpenVocabIoUMetric
from ovseg_mm.evaluation.scores import class_scores


def run(case: Mapping, model: None) -> dict:
    """SG-IoU beside plain IoU, through the metric."""
    sizes = case['config']
    size, ignore = sizes['num_classes'], sizes['ignore_index']
    meta = dict(classes=[f'class {i}' for i in range(size)])
    with tempfile.TemporaryDirectory() as folder:
        relations = Path(folder, 'parents.json')
        relations.write_text(json.dumps(sizes['parents']))
        metric = OpenVocabIoUMetric(relations=relations)
        metric.dataset_meta = meta
    ignored = np.zeros((size + 1, 1))
    for entry in case['inputs']['pairs']:
        truth, found = _label_pair(entry, sizes['parents'])
        ignored[:, 0] += np.bincount(
            found[truth == ignore], minlength=size + 1
        )
        sample = dict(
            gt_sem_seg=dict(data=torch.from_numpy(truth)[None]),
            pred_sem_seg=dict(data=torch.from_numpy(found)[None]),
        )
        metric.process({}, [sample])
    confusion = metric._add_up(metric.results)
    figures = metric.compute_metrics(metric.results)
    outputs = dict(confusion=np.hstack([confusion.T, ignored]))
    for name, prefix, parents in (
        ('plain', '', None),
        ('sg', 'SG_', metric._parents),
    ):
        scores = class_scores(confusion, parents)
        scores['IoU'][np.isnan(scores['Acc'])] = np.nan
        for ours, theirs in (('IoU', 'iou'), ('Acc', 'acc')):
            outputs[f'{name}_{theirs}'] = np.nan_to_num(
                100 * scores[ours], nan=-1
            )
        outputs[f'{name}_summary'] = [
            figures[f'{prefix}{key}']
            for key in ('mIoU_union', 'fwIoU', 'mAcc', 'aAcc')
        ]
    return outputs


def _label_pair(entry: Mapping, parents: Mapping) -> tuple:
    """Truth and prediction of an image of the metric's case."""
    height, width, seed = entry['height'], entry['width'], entry['seed']
    truth = seeded_labels(
        entry['gt'], height, width, entry['gt_classes'], seed, ignore_every=11
    )
    found = seeded_labels(
        entry['pred'],
        height,
        width,
        entry['pred_classes'],
        seed,
        ignore_every=height * width,
    )
    found[found == 255] = 0
    left, middle = slice(0, width // 3), slice(width // 3, 2 * width // 3)
    found[:, left] = np.where(truth == 255, 2, truth)[:, left]
    taken = truth.copy()
    for child, others in parents.items():
        taken[truth == int(child)] = others[0]
    found[:, middle] = np.where(truth == 255, 1, taken)[:, middle]
    return truth, found
