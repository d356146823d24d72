# SPDX-License-Identifier: Apache-2.0
"""Kinds of result files, and the endings of their names."""

from collections.abc import Collection
from importlib.util import find_spec

from .errors import InputError, nearest

# Endings of the results of an image. Without a dot, the result is a folder.
OUTPUTS = dict(
    labels='_labels.png',
    overlay='_overlay.png',
    side_by_side='_side_by_side.png',
    heatmaps='_heatmaps',
    masks='_masks',
    coco='_coco.json',
    geojson='.geojson',
)
# Endings of the results of a raster that is read in windows.
RASTER_OUTPUTS = dict(
    labels='_labels.tif',
    overlay='_overlay.png',
    geojson='.geojson',
    gpkg='.gpkg',
)
_SHARES = '_shares.jsonl'  # JSON lines, one per frame
# Endings of the results of a video, by the suffix of the video. Videos with
# other suffixes use the endings of '.mp4'.
VIDEO_OUTPUTS = {
    '.avi': dict(overlay='_overlay.avi', shares=_SHARES),
    '.mp4': dict(overlay='_overlay.mp4', shares=_SHARES),
}


def video_outputs(suffix: str) -> dict[str, str]:
    """Get the endings of the names of the result files of a video.

    Args:
        suffix (str): Suffix of the video file, such as ``'.mp4'``.

    Returns:
        dict[str, str]: Dict from kinds of results to endings, such as
        ``{'overlay': '_overlay.mp4'}``.
    """
    return VIDEO_OUTPUTS.get(suffix.lower(), VIDEO_OUTPUTS['.mp4'])


def check_outputs_known(
    kinds: Collection[str], known: Collection[str] = tuple(OUTPUTS)
) -> None:
    """Raise if a kind of result file is unknown or cannot be written.

    Args:
        kinds (Collection[str]): Kinds to save, such as ``('labels',)``.
        known (Collection[str]): Kinds that can be saved.

    Raises:
        ImportError: If ``kinds`` has ``'coco'`` and pycocotools is missing.
        InputError: If a kind is unknown.
    """
    for kind in kinds:
        if kind not in known:
            raise InputError(
                f'{kind!r} cannot be saved{nearest(kind, known)}; choose '
                f'from {", ".join(known)}'
            )
    if 'coco' in kinds:
        check_pycocotools()


def check_pycocotools() -> None:
    """Check that pycocotools, which writes COCO annotations, is installed.

    Raises:
        ImportError: If pycocotools is not installed.
    """
    if find_spec('pycocotools') is None:
        raise ImportError(
            'COCO annotations need pycocotools, which is not installed; run: '
            'pip install "ovseg_mm[coco]"'
        )
