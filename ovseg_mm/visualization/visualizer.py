# SPDX-License-Identifier: Apache-2.0
"""Visualizer of segmentors with any vocabulary."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.structures import InstanceData, PixelData
from mmengine.visualization import LocalVisBackend
from mmseg.registry import VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.utils import get_classes, get_palette
from mmseg.visualization import SegLocalVisualizer

from ovseg_mm.utils.image_files import write_image
from ovseg_mm.vocabulary import class_palette

from .font import drawable_name
from .legend import Colours
from .overlay import draw_panels
from .proposals import draw_proposals


@VISUALIZERS.register_module()
class OpenVocabVisualizer(SegLocalVisualizer):
    """Visualizer of the label maps of a sample.

    It draws the image, the ground truth and the prediction in a row above one
    legend. Class names, colours and unseen labels come from ``dataset_meta``,
    which the runner sets. Without ``dataset_meta``, class names are
    ``'label 0'``, ``'label 1'`` and so on. Unlike
    :class:`SegLocalVisualizer`, this class has no default data set, and every
    process can draw to files.

    Args:
        name (str): Name of the instance.
        image (np.ndarray, optional): See
            :class:`mmseg.visualization.SegLocalVisualizer`.
        vis_backends (Sequence | dict, optional): See
            :class:`mmseg.visualization.SegLocalVisualizer`.
        save_dir (str, optional): Folder of the drawings.
        classes (Sequence[str], optional): Class names to use until the runner
            sets ``dataset_meta``.
        palette (Colours, optional): Colours (red, green, blue) of
            ``classes``.
        dataset_name (str, optional): Name of a data set of MMSegmentation.
            Its class names and colours are used if ``classes`` is None.
        alpha (float): Opacity of the colours, in [0, 1].
        **kwargs: See :class:`mmseg.visualization.SegLocalVisualizer`.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        image: np.ndarray | None = None,
        vis_backends: Sequence | dict | None = None,
        save_dir: str | None = None,
        classes: Sequence[str] | None = None,
        palette: Colours | None = None,
        dataset_name: str | None = None,
        alpha: float = 0.6,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            name, image, vis_backends, save_dir, alpha=alpha, **kwargs
        )
        self.save_dir = save_dir
        self.set_dataset_meta(classes, palette, dataset_name)

    @property
    def dataset_meta(self) -> dict | None:
        """Class names, colours and unseen labels; None if they are unknown."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict | None) -> None:
        self._dataset_meta = dataset_meta

    def set_dataset_meta(
        self,
        classes: Sequence[str] | None = None,
        palette: Colours | None = None,
        dataset_name: str | None = None,
    ) -> None:
        """Set class names and colours.

        Args:
            classes (Sequence[str], optional): Class names. None: class names
                of ``dataset_name``.
            palette (Colours, optional): Colours of the classes. None: colours
                of ``dataset_name`` if ``classes`` is None. If ``classes`` is
                set, colours from :func:`class_palette`.
            dataset_name (str, optional): Name of a data set of
                MMSegmentation. Not used if ``classes`` is set.
        """
        if dataset_name is not None and classes is None:
            classes = get_classes(dataset_name)
            palette = palette or get_palette(dataset_name)
        if classes is None:
            self.dataset_meta = None
            return
        self.dataset_meta = dict(
            classes=list(classes),
            palette=palette or class_palette(classes),
        )

    def draw_sample(
        self,
        image: np.ndarray,
        data_sample: SegDataSample | None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        with_labels: bool = True,
        with_image: bool = False,
        outline_errors: bool = False,
    ) -> np.ndarray:
        """Draw the label maps and the mask proposals of a sample.

        Args:
            image (np.ndarray): RGB image, (H, W, 3) uint8.
            data_sample (SegDataSample, optional): Sample to draw. All its
                keys are optional: ``gt_sem_seg`` and ``pred_sem_seg``, label
                maps, (1, H, W); ``proposals``, mask proposals from
                :func:`~ovseg_mm.models.segmentors.deciding_proposals`.
            draw_gt (bool): Whether to draw the ground truth.
            draw_pred (bool): Whether to draw the prediction and, below all
                label maps, the mask proposals.
            with_labels (bool): Whether to draw the legend.
            with_image (bool): Whether to place the image to the left of the
                label maps.
            outline_errors (bool): Whether to draw red lines around wrong
                pixels of the prediction, if the sample has a ground truth.

        Returns:
            np.ndarray: RGB drawing of height H' and width W',
            (H', W', 3) uint8. If there is no label map to draw, ``image``.
        """
        wanted = {'gt_sem_seg': draw_gt, 'pred_sem_seg': draw_pred}
        if data_sample is None:
            return image
        maps = {
            key: _to_numpy(data_sample.get(key))
            for key, asked in wanted.items()
            if asked and key in data_sample
        }
        if not maps:
            return image
        titles = {'gt_sem_seg': 'ground truth', 'pred_sem_seg': 'prediction'}
        panels: dict[str, np.ndarray | None] = {
            titles[key] if with_image or len(maps) > 1 else '': labels
            for key, labels in maps.items()
        }
        meta = self.dataset_meta or _default_meta(maps.values())
        wrong = {}
        if outline_errors and draw_pred and 'gt_sem_seg' in data_sample:
            truth = _to_numpy(data_sample.gt_sem_seg)
            known = (truth >= 0) & (truth < len(meta['classes']))
            title = list(panels)[-1]
            wrong[title] = known & (truth != maps['pred_sem_seg'])
        sheet = draw_panels(
            image,
            {'image': None, **panels} if with_image else panels,
            meta['classes'],
            meta['palette'],
            meta.get('unseen', ()),
            self.alpha,
            with_legend=with_labels,
            wrong=wrong,
        )
        if draw_pred and 'proposals' in data_sample:
            proposals = _draw_proposals(
                image, data_sample.proposals, meta['classes'], sheet.shape[1]
            )
            sheet = np.concatenate([sheet, proposals])
        return sheet

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: SegDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        step: int = 0,
        with_labels: bool = True,
        with_image: bool = False,
        outline_errors: bool = False,
    ) -> None:
        """Draw a sample, and show or save the drawing.

        The drawing is saved to ``out_file`` and by the visualization backends.

        Args:
            name (str): Name of the drawing in windows and backends.
            image (np.ndarray): RGB image, (H, W, 3) uint8.
            data_sample (SegDataSample, optional): See :meth:`draw_sample`.
            draw_gt (bool): See :meth:`draw_sample`.
            draw_pred (bool): See :meth:`draw_sample`.
            show (bool): Whether to show the drawing in a window.
            wait_time (float): Seconds to show the window. 0: until a key is
                pressed.
            out_file (str, optional): File to write. If it is set, every
                process that calls this method writes its own ``out_file``,
                and backends of the class ``LocalVisBackend`` do not save the
                drawing a second time. None: only the main process draws, and
                all backends save the drawing.
            step (int): Training step that is passed to the backends.
            with_labels (bool): See :meth:`draw_sample`.
            with_image (bool): See :meth:`draw_sample`.
            outline_errors (bool): See :meth:`draw_sample`.
        """
        if out_file is None and not is_main_process():
            return
        drawn = self.draw_sample(
            image,
            data_sample,
            draw_gt,
            draw_pred,
            with_labels,
            with_image,
            outline_errors,
        )
        self.set_image(drawn)  # for get_image(), as MMSegmentation's APIs do
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            write_image(out_file, drawn)
        if is_main_process():
            for backend in self._vis_backends.values():
                if out_file is None or not isinstance(
                    backend, LocalVisBackend
                ):
                    backend.add_image(name, drawn, step)


def _draw_proposals(
    image: np.ndarray, proposals: InstanceData, names: Sequence, width: int
) -> np.ndarray:
    """Draw mask proposals with the classes that two classifiers predict.

    One classifier uses the embedding of a proposal, the other classifier the
    image region of the proposal.
    """
    proposals = proposals.cpu().numpy()
    names = [drawable_name(name, label) for label, name in enumerate(names)]
    captions = [
        (
            f'embedding: {names[label]} {score:.2f}',
            'no region'
            if np.isnan(region_score)
            else f'region: {names[region_label]} {region_score:.2f}',
        )
        for label, score, region_label, region_score in zip(
            proposals.labels,
            proposals.scores,
            proposals.region_labels,
            proposals.region_scores,
        )
    ]
    return draw_proposals(image, proposals.masks, captions, width)


def _to_numpy(sem_seg: PixelData) -> np.ndarray:
    """Return the label map of a sample as an array, (H, W) int64."""
    data = sem_seg.data
    if isinstance(data, torch.Tensor):
        data = data.cpu().numpy()
    return data.reshape(data.shape[-2:]).astype(np.int64)


def _default_meta(maps: Iterable[np.ndarray]) -> dict:
    """Return class names ``'label 0'``, ... and colours for label maps."""
    used = np.unique(np.concatenate([labels.ravel() for labels in maps]))
    count = int(used[used < 255].max(initial=0)) + 1
    names = [f'label {label}' for label in range(count)]
    return dict(classes=names, palette=class_palette(names))
