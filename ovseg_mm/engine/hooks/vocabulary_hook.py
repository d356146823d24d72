# SPDX-License-Identifier: Apache-2.0
from typing import Any, cast

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner, TestLoop, ValLoop
from mmseg.registry import HOOKS

from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.vocabulary import Vocabulary, check_same_classes

from ..distributed import unwrap


@HOOKS.register_module()
class VocabularyHook(Hook):
    """Hook that checks and uses the vocabulary of the model in a run.

    - The hook raises an error if a data set and the vocabulary have different
      classes, or the same classes in different orders.
    - It passes class names and palette to the metric and the visualizer.
    - It computes the text embeddings before the first image of a test or
      validation.
    """

    # Runs after hooks that exchange the weights (EMA) for the test.
    priority = 'LOW'

    def before_train(self, runner: Runner) -> None:
        """Raise if a data set and its vocabulary have different classes."""
        segmentor = _segmentor(runner)
        dataset = runner.train_dataloader.dataset
        vocabulary = segmentor.train_vocabulary
        classes = getattr(dataset, 'metainfo', {}).get('classes')
        whole = vocabulary.whole
        if classes is not None:
            segmentor.num_train_labels = len(classes)
            # MMSegmentation's data sets number all labels, not the seen ones.
            if whole is not None and len(classes) == whole.num_labels:
                vocabulary = whole
        _check(dataset, vocabulary)
        if runner.val_loop is not None:
            _check(runner.val_dataloader.dataset, segmentor.vocabulary)

    def before_val(self, runner: Runner) -> None:
        """Pass class names and palette to the metric and the visualizer."""
        self._hand_over(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Pass class names and palette to the metric and the visualizer."""
        self._hand_over(runner, runner.test_loop)

    def before_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Compute the text embeddings before the first image."""
        if batch_idx == 0:
            _segmentor(runner).prepare_text()

    def before_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Compute the text embeddings before the first image."""
        if batch_idx == 0:
            _segmentor(runner).prepare_text()

    def _hand_over(self, runner: Runner, loop: ValLoop | TestLoop) -> None:
        vocabulary = _segmentor(runner).vocabulary
        dataset = loop.dataloader.dataset
        _check(dataset, vocabulary)
        meta = {
            **dataset.metainfo,
            **vocabulary.metainfo,
            'palette': _palette(dataset.metainfo, vocabulary),
        }
        # The data set may also list unseen labels.
        if not vocabulary.unseen:
            meta['unseen'] = dataset.metainfo.get('unseen', [])
        loop.evaluator.dataset_meta = meta
        runner.visualizer.dataset_meta = meta


def _segmentor(runner: Runner) -> BaseOpenVocabSegmentor:
    return cast(BaseOpenVocabSegmentor, unwrap(runner.model))


def _palette(meta: dict, vocabulary: Vocabulary) -> list[list[int]]:
    """Choose the palette for metric and visualizer.

    The vocabulary's own palette is used if there is one; otherwise the
    palette of the data set; otherwise default colours.
    """
    chosen = [list(colour) for colour in meta.get('palette') or ()]
    if len(chosen) == vocabulary.num_labels and not _is_random(chosen):
        vocabulary = vocabulary.coloured(chosen)
    return vocabulary.metainfo['palette']


def _is_random(palette: list[list[int]]) -> bool:
    """Whether a palette is the random default palette of MMSegmentation."""
    random = np.random.RandomState(42)
    return palette == random.randint(0, 255, (len(palette), 3)).tolist()


def _check(dataset: Any, vocabulary: Vocabulary) -> None:
    """Raise if a data set and the vocabulary have different classes."""
    # Concatenated sets have only the names of the first set.
    inner = getattr(dataset, 'datasets', None)
    if inner is None and hasattr(dataset, 'dataset'):
        inner = [dataset.dataset]
    if inner is not None:
        for part in inner:
            _check(part, vocabulary)
        return
    classes = getattr(dataset, 'metainfo', {}).get('classes')
    if classes is not None:
        check_same_classes(vocabulary, classes, type(dataset).__name__)
