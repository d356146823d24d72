# SPDX-License-Identifier: Apache-2.0
"""Result of a model for one image."""

import io
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmseg.structures import SegDataSample
from PIL import Image

from ovseg_mm.utils.errors import InputError, nearest
from ovseg_mm.utils.image_files import write_image, write_label_map
from ovseg_mm.utils.paths import expanded, path_inside, write_text
from ovseg_mm.utils.result_files import OUTPUTS, check_outputs_known
from ovseg_mm.visualization import draw_heatmap, draw_overlay
from ovseg_mm.vocabulary import Vocabulary

from .formats import coco_of, geojson_of
from .regions import Box, Polygon, find_boxes, find_polygons


@dataclass(frozen=True, repr=False)
class Segmentation:
    """Result for one image.

    Attributes:
        image (np.ndarray): RGB image, (H, W, 3) uint8.
        labels (np.ndarray): Label of each pixel, (H, W) int64 in [0, L) for L
            labels. Pixels without a label have ``vocabulary.ignore_label``.
        vocabulary (Vocabulary): Class texts and names of the labels.
        scores (np.ndarray, optional): Scores of all labels, (L, H, W)
            float32; or scores of the k best labels of each pixel, best first,
            (k, H, W) float16. None: the call did not ask for scores.
        score_labels (np.ndarray, optional): Labels of the k best scores, (k,
            H, W) int64. None if ``scores`` has all labels or is None.
        path (Path, optional): File of the image. None: the image was not
            given as a path.
    """

    image: np.ndarray
    labels: np.ndarray
    vocabulary: Vocabulary
    scores: np.ndarray | None = None
    score_labels: np.ndarray | None = None
    path: Path | None = None

    @classmethod
    def of_sample(
        cls,
        sample: SegDataSample,
        image: np.ndarray,
        vocabulary: Vocabulary,
        path: Path | None = None,
    ) -> 'Segmentation':
        """Convert the prediction of a model.

        Args:
            sample (SegDataSample): Prediction with ``pred_sem_seg``. Scores
                are taken from ``seg_logits``, or ``top_scores`` and
                ``top_labels``, if the sample has them.
            image (np.ndarray): RGB image, (H, W, 3) uint8.
            vocabulary (Vocabulary): Class texts and names of the labels.
            path (Path, optional): File of the image.

        Returns:
            Segmentation: Result with NumPy arrays.
        """
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        scores = score_labels = None
        if 'seg_logits' in sample:
            scores = sample.seg_logits.data.cpu().numpy()
        elif 'top_scores' in sample:
            scores = sample.top_scores.data.half().cpu().numpy()
            score_labels = sample.top_labels.data.cpu().numpy()
        return cls(image, labels, vocabulary, scores, score_labels, path)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the L labels; a label is the index of its name."""
        return self.vocabulary.label_names

    @property
    def palette(self) -> tuple[tuple[int, int, int], ...]:
        """Colours of the L labels, (red, green, blue) in [0, 255]."""
        return self.vocabulary.palette

    def shares(self) -> dict[str, float]:
        """Share of the image that each class of the label map covers.

        Returns:
            dict[str, float]: Share in (0, 1] by class name, largest first.
            The sum is below 1 if some pixels have no label.
        """
        values, counts = np.unique(self.labels, return_counts=True)
        found = sorted(zip(counts.tolist(), values.tolist()), reverse=True)
        return {
            self.class_names[value]: count / self.labels.size
            for count, value in found
            if value < self.vocabulary.num_labels
        }

    def masks(self) -> dict[str, np.ndarray]:
        """Mask of each class that occurs in the label map.

        Returns:
            dict[str, np.ndarray]: Pixels of the class, (H, W) bool, by class
            name, largest class first.
        """
        return {
            name: self.labels == self._label(name) for name in self.shares()
        }

    def scores_of(self, name: str) -> np.ndarray:
        """Scores of one class at all pixels.

        Args:
            name (str): Class name.

        Returns:
            np.ndarray: Scores, (H, W) float32. If the result has only the
            scores of the k best labels of each pixel, pixels are NaN where
            the class is not one of these labels.

        Raises:
            InputError: If there is no such class, or the result has no
                scores.
        """
        label = self._label(name)
        if self.scores is None:
            raise InputError(
                'this result has no scores; ask for them: '
                "inferencer(image, classes, scores='all')"
            )
        if self.score_labels is None:
            return self.scores[label]
        chosen = self.score_labels == label
        scores = np.where(chosen, self.scores, 0).sum(axis=0, dtype='float32')
        return np.where(chosen.any(axis=0), scores, np.float32('nan'))

    def overlay(self, **options: Any) -> np.ndarray:
        """Draw the labels onto the image, and a legend below it.

        Args:
            **options (Any): Options of
                :func:`ovseg_mm.visualization.draw_overlay`, such as
                ``alpha=0.6``, the opacity of the colours.

        Returns:
            np.ndarray: RGB drawing, (height, width, 3) uint8. The legend adds
            to the size of the image, and small images are enlarged.
        """
        return draw_overlay(
            self.image, self.labels, self.vocabulary, **options
        )

    def heatmap(
        self, name: str, low: float | None = None, high: float | None = None
    ) -> np.ndarray:
        """Draw the scores of one class over the image.

        Args:
            name (str): Class name.
            low (float, optional): Score of the darkest colour. None: lowest
                score of the class in this image.
            high (float, optional): Score of the brightest colour. None:
                highest score of the class in this image.

        Returns:
            np.ndarray: RGB drawing with a colour bar, (height, width, 3)
            uint8. The colour bar adds to the size of the image.

        Raises:
            InputError: If there is no such class, or the result has no
                scores.
        """
        return draw_heatmap(self.image, self.scores_of(name), low, high)

    def boxes(self, min_area: int = 1) -> list[Box]:
        """Bounding boxes of connected regions.

        Args:
            min_area (int): Least area in pixels; smaller regions are left
                out.

        Returns:
            list[Box]: The boxes, largest region first.
        """
        return find_boxes(self.labels, self.vocabulary, min_area)

    def polygons(self, min_area: int = 1) -> list[Polygon]:
        """Outlines and holes of connected regions.

        Args:
            min_area (int): Least area in pixels; smaller regions are left
                out.

        Returns:
            list[Polygon]: The polygons, largest region first.
        """
        return find_polygons(self.labels, self.vocabulary, min_area)

    def to_coco(self, image_id: int = 1) -> dict[str, Any]:
        """COCO annotations, one for each class of the label map.

        Args:
            image_id (int): Id of the image.

        Returns:
            dict[str, Any]: ``images``, ``categories`` and ``annotations``,
            see :func:`ovseg_mm.apis.formats.coco_of`.

        Raises:
            ImportError: If pycocotools is not installed (extra ``coco``).
        """
        name = self.path.name if self.path else ''
        return coco_of(self.labels, self.vocabulary, name, image_id)

    def to_geojson(self, min_area: int = 1) -> dict[str, Any]:
        """GeoJSON polygons of connected regions, in pixel coordinates.

        Args:
            min_area (int): Least area in pixels; smaller regions are left
                out.

        Returns:
            dict[str, Any]: A feature collection, see
            :func:`ovseg_mm.apis.formats.geojson_of`.
        """
        return geojson_of(self.polygons(min_area))

    def save(
        self,
        folder: str | Path,
        what: str | Collection[str] = ('labels', 'overlay'),
        name: str | Path | None = None,
    ) -> dict[str, Path]:
        """Save the result as files; a failed call leaves no incomplete file.

        Args:
            folder (str | Path): Folder of the files; created if missing.
            what (str | Collection[str]): One or several kinds of files:

                - ``'labels'``: label map, ``NAME_labels.png`` (8 bits, 16
                  for more than 255 labels; 255 or 65535 means no label);
                - ``'overlay'``: ``NAME_overlay.png``;
                - ``'side_by_side'``: image and overlay beside each other,
                  ``NAME_side_by_side.png``;
                - ``'heatmaps'``: the folder ``NAME_heatmaps`` with a heatmap
                  of each class of the label map (needs ``scores``);
                - ``'masks'``: the folder ``NAME_masks`` with a mask of each
                  class of the label map: 255 in the class, 0 elsewhere;
                - ``'coco'``: COCO annotations, ``NAME_coco.json``;
                - ``'geojson'``: polygons in pixel coordinates,
                  ``NAME.geojson``.
            name (str | Path, optional): NAME in the file names; may contain
                folders, as in ``'day1/street'``. None: name of the image file
                without suffix, or ``'image'``.

        Returns:
            dict[str, Path]: Paths by kind, in the order of ``what``.

        Raises:
            ImportError: If pycocotools is not installed (extra ``coco``).
            InputError: If ``what`` has an unknown kind, or heatmaps are
                wanted but the result has no scores.
            OSError: If a file cannot be written.
        """
        kinds = (what,) if isinstance(what, str) else tuple(what)
        check_outputs_known(kinds)
        if 'heatmaps' in kinds:
            self.scores_of(self.class_names[0])  # raises without scores
        if name is None:
            name = self.path.stem if self.path else 'image'
        stem = path_inside(expanded(folder), str(name))
        stem.parent.mkdir(parents=True, exist_ok=True)
        written = {}
        for kind in kinds:
            path = stem.with_name(stem.name + OUTPUTS[kind])
            self._write(kind, path)
            written[kind] = path
        return written

    def show(self) -> None:
        """Show the overlay; outside of a notebook, this opens a window."""
        Image.fromarray(self.overlay()).show()

    def __repr__(self) -> str:
        """Size of the image and share of each class, without the arrays."""
        height, width = self.labels.shape
        found = ', '.join(
            f'{name} {share:.1%}' for name, share in self.shares().items()
        )
        return f'Segmentation({height} x {width}: {found or "nothing"})'

    def _repr_png_(self) -> bytes:
        """PNG file of the overlay, which notebooks display."""
        file = io.BytesIO()
        Image.fromarray(self.overlay()).save(file, 'PNG')
        return file.getvalue()

    def _label(self, name: str) -> int:
        label = self.vocabulary.label_named(name)
        if label is None:
            raise InputError(
                f'{name!r} is not a class of this result'
                f'{nearest(name, self.class_names)}; the classes are '
                f'{", ".join(self.class_names)}'
            )
        return label

    def _write(self, kind: str, path: Path) -> None:
        if kind == 'labels':
            values = self.vocabulary.ignore_label + 1
            write_label_map(path, self.labels, values)
        elif kind == 'overlay':
            write_image(path, self.overlay())
        elif kind == 'side_by_side':
            write_image(path, self.overlay(side_by_side=True))
        elif kind == 'heatmaps':
            self._write_each(path, self.heatmap)
        elif kind == 'masks':
            masks = self.masks()
            self._write_each(path, lambda name: masks[name] * np.uint8(255))
        elif kind == 'coco':
            write_text(path, json.dumps(self.to_coco()))
        else:
            write_text(path, json.dumps(self.to_geojson()))

    def _write_each(
        self, folder: Path, draw: Callable[[str], np.ndarray]
    ) -> None:
        """Write an image for each class of the label map.

        A file name consists of the label and the class name.
        """
        folder.mkdir(exist_ok=True)
        for name in self.shares():
            word = re.sub(r'[^\w-]+', '_', name)[:80]
            write_image(
                folder / f'{self._label(name):03d}_{word}.png', draw(name)
            )
