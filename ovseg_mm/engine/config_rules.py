# SPDX-License-Identifier: Apache-2.0
"""Checks of settings that contradict each other or do not work."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.hooks import NaiveVisualizationHook

from ovseg_mm.utils.config_types import type_name
from ovseg_mm.utils.errors import InputError, nearest
from ovseg_mm.vocabulary import load_vocabulary

_RESIZES = (
    *('Resize', 'RandomResize', 'RandomChoiceResize', 'ResizeToMultiple'),
    *('ResizeShortestEdge', 'RandomCrop', 'RandomRotate', 'RandomCutOut'),
)
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Names in iou_metrics of MMSegmentation's IoUMetric, and their metrics.
_IOU_FIGURES = dict(
    mIoU=('mIoU', 'mAcc'),
    mDice=('mDice', 'mAcc'),
    mFscore=('mFscore', 'mPrecision', 'mRecall'),
)
_OWN_FIGURES = ('mIoU', 'mIoU_union', 'aAcc', 'mAcc', 'fwIoU')
_ZERO_SHOT_FIGURES = ('mIoU_seen', 'mIoU_unseen', 'hIoU')
_CROP_FIGURES = ('accuracy', 'class_accuracy')


def check_data(cfg: Config, keys: Collection[str] | None = None) -> None:
    """Raise if a pipeline or a concatenated data set would fail in the run.

    Args:
        cfg (Config): Config that passed the other checks of
            :func:`~ovseg_mm.engine.config_check.check_config`.
        keys (Collection[str], optional): Top-level keys to check. None: all.

    Raises:
        InputError: If a training pipeline resizes images before it loads
            labels, if a validation or test pipeline loads labels before it
            resizes images, or if a concatenated data set has parts with
            different classes.
    """
    for loader in _LOADERS:
        if keys is not None and loader not in keys:
            continue
        whole = cfg.get(loader)
        if not isinstance(whole, Mapping):
            continue
        for path, dataset in _datasets(whole.get('dataset'), loader):
            _check_order(dataset.get('pipeline') or [], path, loader)
            _check_joined(dataset, path)


def check_hook(path: str, kind: type | Callable) -> None:
    """Raise for a hook that fails with every model of MMSegmentation.

    Args:
        path (str): Key of the hook in the config, for the message.
        kind (type): Class of the hook.

    Raises:
        InputError: If the class is MMEngine's ``NaiveVisualizationHook``.
    """
    if kind is NaiveVisualizationHook:
        raise InputError(
            f'{path}: NaiveVisualizationHook fails with every model, because '
            'it needs the batch format of an old MMEngine; use '
            "dict(type='OpenVocabVisualizationHook', draw=True)"
        )


def check_metric_names(cfg: Config) -> None:
    """Raise if a config names an unknown metric.

    Args:
        cfg (Config): A whole config.

    Raises:
        InputError: If ``iou_metrics`` of an evaluator has an unknown metric,
            or if ``save_best`` of the checkpoint hook has a metric that the
            validation does not compute.
    """
    for key in ('val_evaluator', 'test_evaluator'):
        for metric in _metrics(cfg.get(key)):
            _check_iou_metrics(metric, key)
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    best = hook.get('save_best')
    figures = _figures(cfg)
    if best is None or figures is None:
        return
    for name in [best] if isinstance(best, str) else best:
        # Metrics of single classes have a dot in their name.
        if name != 'auto' and name not in figures and '.' not in name:
            raise InputError(
                f'default_hooks.checkpoint.save_best={name!r}: the '
                'validation does not compute this metric'
                f'{nearest(name, figures)}; choose from '
                f'{", ".join(sorted(figures))}'
            )


def _datasets(node: Any, path: str) -> Iterator[tuple[str, Mapping]]:
    """Yield key and config of each data set of a loader, also nested ones."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _datasets(item, f'{path}.{index}')
    elif isinstance(node, Mapping):
        path = f'{path}.dataset' if '.' not in path else path
        yield path, node
        for key in ('dataset', 'datasets'):
            yield from _datasets(node.get(key), f'{path}.{key}')


def _check_order(pipeline: Any, path: str, loader: str) -> None:
    if not isinstance(pipeline, (list, tuple)):
        return
    names = [type_name(step) for step in pipeline if isinstance(step, Mapping)]
    loads = [i for i, name in enumerate(names) if 'Annotations' in name]
    resizes = [i for i, name in enumerate(names) if name in _RESIZES]
    if not loads or not resizes:
        return
    load, first, last = names[loads[0]], names[resizes[0]], names[resizes[-1]]
    if loader == 'train_dataloader' and min(resizes) < min(loads):
        raise InputError(
            f'{path}.pipeline has {first} before {load}, so {first} would '
            f'change the image, but not the labels; put {load} first'
        )
    if loader != 'train_dataloader' and min(loads) < max(resizes):
        raise InputError(
            f'{path}.pipeline has {load} before {last}, so {last} would '
            'change the labels, but labels and predictions must have the size '
            f'of the image file; put {load} after {last}'
        )


def _check_joined(dataset: Mapping, path: str) -> None:
    """Raise if a concatenated data set has parts with different classes."""
    parts = dataset.get('datasets') or []
    words = [
        (index, load_vocabulary(part['vocabulary']))
        for index, part in enumerate(parts)
        if isinstance(part, Mapping) and 'vocabulary' in part
    ]
    for index, other in words[1:]:
        first = words[0][1]
        for one, two in zip(first.label_names, other.label_names):
            if one != two:
                raise InputError(
                    f'{path}.datasets.{index} has the class {two!r} where '
                    f'{path}.datasets.{words[0][0]} has {one!r}; concatenated '
                    'data sets need the same classes in the same order'
                )
        if first.num_labels != other.num_labels:
            raise InputError(
                f'{path}.datasets.{index} has {other.num_labels} classes, '
                f'but {path}.datasets.{words[0][0]} has {first.num_labels}; '
                'concatenated data sets need the same classes'
            )


def _metrics(evaluator: Any) -> list[Mapping]:
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    if isinstance(evaluator, Mapping):
        evaluator = [evaluator]
    return [m for m in evaluator or [] if isinstance(m, Mapping)]


def _check_iou_metrics(metric: Mapping, path: str) -> None:
    named = metric.get('iou_metrics', [])
    for name in [named] if isinstance(named, str) else named:
        if name not in _IOU_FIGURES:
            raise InputError(
                f'{path}.iou_metrics: there is no metric {name!r}'
                f'{nearest(name, _IOU_FIGURES)}; choose from '
                f'{", ".join(_IOU_FIGURES)}'
            )


def _figures(cfg: Config) -> set[str] | None:
    """Return the names of the metrics that the validation computes.

    None: the config has no validation metric, or the class of a metric is
    unknown.
    """
    figures: set[str] = set()
    for metric in _metrics(cfg.get('val_evaluator')):
        names = _figures_of(metric)
        if names is None:
            return None
        prefix = metric.get('prefix')
        figures |= {f'{prefix}/{n}' for n in names} if prefix else names
    return figures or None


def _figures_of(metric: Mapping) -> set[str] | None:
    name = type_name(metric)
    if name == 'IoUMetric':
        named = metric.get('iou_metrics', ['mIoU'])
        named = [named] if isinstance(named, str) else named
        return {'aAcc', *(f for n in named for f in _IOU_FIGURES[n])}
    if name == 'CropAccuracyMetric':
        return set(_CROP_FIGURES)
    if name != 'OpenVocabIoUMetric':
        return None
    figures = {*_OWN_FIGURES, *_ZERO_SHOT_FIGURES}
    if metric.get('relations') is not None:
        figures |= {f'SG_{figure}' for figure in _OWN_FIGURES}
    return figures
