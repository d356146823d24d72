# SPDX-License-Identifier: Apache-2.0
"""Connected regions of a label map: boxes and polygons."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ovseg_mm.vocabulary import Vocabulary


class Box(NamedTuple):
    """Bounding box of a region, the connected pixels of one class.

    Attributes:
        name (str): Class name.
        label (int): Label of the class.
        area (int): Number of pixels in the region.
        left (int): First column of the region.
        top (int): First row of the region.
        right (int): Last column of the region, plus 1.
        bottom (int): Last row of the region, plus 1.
    """

    name: str
    label: int
    area: int
    left: int
    top: int
    right: int
    bottom: int


class Polygon(NamedTuple):
    """Outline of a region, the connected pixels of one class.

    Attributes:
        name (str): Class name.
        label (int): Label of the class.
        area (int): Number of pixels in the region.
        rings (tuple[np.ndarray, ...]): The outline, then the holes: for each
            ring, its n corners (x, y), (n, 2) int64. The first corner is not
            repeated. Edges of pixels have integer coordinates: the corners of
            the top left pixel are (0, 0), (1, 0), (1, 1) and (0, 1).
    """

    name: str
    label: int
    area: int
    rings: tuple[np.ndarray, ...]


def find_boxes(
    labels: np.ndarray, vocabulary: Vocabulary, min_area: int = 1
) -> list[Box]:
    """Bounding boxes of all regions of a label map.

    Args:
        labels (np.ndarray): Label map, (H, W) integers. For L labels, pixels
            with values outside [0, L) belong to no region.
        vocabulary (Vocabulary): Names of the labels.
        min_area (int): Least area in pixels; smaller regions are left out.

    Returns:
        list[Box]: The boxes, largest region first.
    """
    return [box for box, _ in _regions(labels, vocabulary, min_area)]


def find_polygons(
    labels: np.ndarray, vocabulary: Vocabulary, min_area: int = 1
) -> list[Polygon]:
    """Polygons of all regions of a label map.

    Args:
        labels (np.ndarray): Label map, (H, W) integers. For L labels, pixels
            with values outside [0, L) belong to no region.
        vocabulary (Vocabulary): Names of the labels.
        min_area (int): Least area in pixels; smaller regions are left out.

    Returns:
        list[Polygon]: The polygons, largest region first.
    """
    return [
        Polygon(
            box.name,
            box.label,
            box.area,
            tuple(ring + (box.left, box.top) for ring in _rings(mask)),
        )
        for box, mask in _regions(labels, vocabulary, min_area)
    ]


def _regions(
    labels: np.ndarray, vocabulary: Vocabulary, min_area: int
) -> list[tuple[Box, np.ndarray]]:
    """Box and mask of each region, largest first.

    A mask is (height, width) bool, cut to the size of its box.
    """
    found = [
        region
        for label in np.unique(labels).tolist()
        if 0 <= label < vocabulary.num_labels
        for region in _components(labels == label, label, vocabulary, min_area)
    ]
    return sorted(found, key=lambda region: -region[0].area)


def _components(
    mask: np.ndarray, label: int, vocabulary: Vocabulary, min_area: int
) -> Iterator[tuple[Box, np.ndarray]]:
    """Box and mask of each region of one class.

    Args:
        mask (np.ndarray): Pixels of the class, (H, W) bool. Pixels that share
            an edge, not only a corner, are connected.
        label (int): Label of the class.
        vocabulary (Vocabulary): Names of the labels.
        min_area (int): Least area in pixels; smaller regions are left out.

    Yields:
        tuple[Box, np.ndarray]: The box, and the mask cut to the size of the
        box, (height, width) bool.
    """
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    name = vocabulary.label_names[label]
    for number, row in enumerate(stats.tolist()):
        left, top, width, height, area = row
        if number == 0 or area < min_area:  # 0: other classes
            continue
        box = Box(name, label, area, left, top, left + width, top + height)
        cut = numbers[top : box.bottom, left : box.right]
        yield box, cut == number


def _rings(mask: np.ndarray) -> list[np.ndarray]:
    """Find the outline of a region and the outlines of its holes.

    The outlines run along the edges of pixels. OpenCV, however, draws
    outlines through the centres of pixels. This function therefore gives
    OpenCV an enlarged mask, which has one pixel for each centre, each edge
    and each corner of a pixel of ``mask``.

    Args:
        mask (np.ndarray): Connected pixels, (height, width) bool.

    Returns:
        list[np.ndarray]: The n corners (x, y) of each outline, (n, 2) int64,
        in pixels of ``mask``. The outline of the region is the first.
    """
    height, width = mask.shape
    grid = np.zeros((2 * height + 3, 2 * width + 3), np.uint8)
    grid[2:-1:2, 2:-1:2] = mask
    grid = cv2.dilate(grid, np.ones((3, 3), np.uint8))
    contours, hierarchy = cv2.findContours(
        grid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-1, -1)
    )
    outer = [parent < 0 for *_, parent in hierarchy[0].tolist()]
    order = sorted(range(len(contours)), key=lambda i: not outer[i])
    return [_corners(contours[i][:, 0], outer[i]) for i in order]


def _corners(path: np.ndarray, outer: bool) -> np.ndarray:
    """Corners of a closed path in the enlarged mask of :func:`_rings`.

    Args:
        path (np.ndarray): The N points (x, y) of the path, (N, 2), in pixels
            of the enlarged mask, which is twice as high and twice as wide as
            the image.
        outer (bool): Whether the path is an outline, not a hole.

    Returns:
        np.ndarray: The n corners (x, y), (n, 2) int64, in pixels. The
        :func:`signed_area` of an outline is positive, that of a hole
        negative.
    """
    path = path.astype(np.int64)
    ahead = np.roll(path, -1, axis=0)
    # OpenCV cuts corners by diagonal steps; corners have even coordinates.
    skipped = np.where(path % 2 == 0, path, ahead)
    path = np.stack([path, skipped], axis=1).reshape(-1, 2)
    path = path[(path % 2 == 0).all(axis=1)] // 2
    path = path[(path != np.roll(path, 1, axis=0)).any(axis=1)]
    step = np.roll(path, -1, axis=0) - path
    turns = (np.sign(step) != np.roll(np.sign(step), 1, axis=0)).any(axis=1)
    path = path[turns]
    return path if (signed_area(path) > 0) == outer else path[::-1]


def signed_area(ring: np.ndarray | Sequence[Sequence[int]]) -> float:
    """Area of a ring by the shoelace formula.

    Args:
        ring (np.ndarray | Sequence[Sequence[int]]): Corners (x, y), (n, 2).

    Returns:
        float: Area; in pixels, if the corners are in pixels. It is positive
        if the ring runs clockwise in an image, where y points down;
        otherwise negative.
    """
    x, y = np.asarray(ring).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
