# SPDX-License-Identifier: Apache-2.0
"""Kinds of files that results are saved as, and their names."""

from collections.abc import Collection
from importlib.util import find_spec

from .errors import InputError, nearest

# Ends of the names of an image's results. A name without a dot is a folder.
OUTPUTS = dict(
    labels='_labels.png',
    overlay='_overlay.png',
    side_by_side='_side_by_side.png',
    heatmaps='_heatmaps',
    masks='_masks',
    coco='_coco.json',
    geojson='.geojson',
)
# Of a raster that is read in windows.
RASTER_OUTPUTS = dict(
    labels='_labels.tif',
    overlay='_overlay.png',
    geojson='.geojson',
    gpkg='.gpkg',
)
_SHARES = '_shares.jsonl'  # JSON lines, one per frame
# Of a video, by its suffix; all others have the results of an MP4.
VIDEO_OUTPUTS = {
    '.avi': dict(overlay='_overlay.avi', shares=_SHARES),
    '.mp4': dict(overlay='_overlay.mp4', shares=_SHARES),
}


def video_outputs(suffix: str) -> dict[str, str]:
    """Ends of the names of a video's results.

    Args:
        suffix (str): Suffix of the video.

    Returns:
        dict[str, str]: End of the name by kind.
    """
    return VIDEO_OUTPUTS.get(suffix.lower(), VIDEO_OUTPUTS['.mp4'])


def check_outputs_known(
    kinds: Collection[str], known: Collection[str] = tuple(OUTPUTS)
) -> None:
    """Check the kinds of files to save.

    Args:
        kinds (Collection[str]): Kinds of files.
        known (Collection[str]): Kinds that exist.

    Raises:
        ImportError: If a library is missing that writes one of them.
        InputError: If one is unknown.
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
    """Check that the library of COCO annotations is installed.

    Raises:
        ImportError: If it is not.
    """
    if find_spec('pycocotools') is None:
        raise ImportError(
            'COCO annotations need pycocotools: pip install "ovseg_mm[coco]"'
        )
