# SPDX-License-Identifier: Apache-2.0
"""Label maps as COCO annotations and GeoJSON."""

from typing import Any

import numpy as np

from ovseg_mm.utils.result_files import check_pycocotools
from ovseg_mm.vocabulary import Vocabulary

from .regions import Polygon


def coco_of(
    labels: np.ndarray,
    vocabulary: Vocabulary,
    file_name: str,
    image_id: int = 1,
) -> dict[str, Any]:
    """COCO annotations of a label map, one for each class of the map.

    Args:
        labels (np.ndarray): Label map, (H, W) integers. For L labels, pixels
            with values outside [0, L) belong to no annotation.
        vocabulary (Vocabulary): Names of the labels. The category of a label
            has the id ``label + 1``, since COCO counts from 1.
        file_name (str): File name of the image.
        image_id (int): Id of the image.

    Returns:
        dict[str, Any]: ``images``, ``categories`` and ``annotations``, ready
        for ``json.dump``. Masks are compressed run-length codes.

    Raises:
        ImportError: If pycocotools is not installed.
    """
    check_pycocotools()
    from pycocotools import mask as rle

    height, width = labels.shape
    annotations: list[dict[str, Any]] = []
    for label in np.unique(labels).tolist():
        if not 0 <= label < vocabulary.num_labels:
            continue
        code = rle.encode(np.asfortranarray(labels == label, dtype=np.uint8))
        annotations.append(
            dict(
                id=len(annotations) + 1,
                image_id=image_id,
                category_id=label + 1,
                segmentation=dict(
                    size=[height, width], counts=code['counts'].decode()
                ),
                area=int(rle.area(code)),
                bbox=rle.toBbox(code).tolist(),
                iscrowd=0,
            )
        )
    return dict(
        images=[
            dict(id=image_id, file_name=file_name, height=height, width=width)
        ],
        categories=[
            dict(id=label + 1, name=name)
            for label, name in enumerate(vocabulary.label_names)
        ],
        annotations=annotations,
    )


def geojson_of(polygons: list[Polygon]) -> dict[str, Any]:
    """GeoJSON of polygons, in pixel coordinates.

    Args:
        polygons (list[Polygon]): Regions of a label map.

    Returns:
        dict[str, Any]: A feature collection, ready for ``json.dump``. Each
        feature is a polygon: x to the right, y down, holes as further rings.
        Its properties are ``name`` and ``label`` of the class, and ``area``
        in pixels.
    """
    return dict(
        type='FeatureCollection',
        features=[
            dict(
                type='Feature',
                properties=dict(
                    name=polygon.name,
                    label=polygon.label,
                    area=polygon.area,
                ),
                geometry=dict(
                    type='Polygon',
                    coordinates=[
                        [*ring.tolist(), ring[0].tolist()]
                        for ring in polygon.rings
                    ],
                ),
            )
            for polygon in polygons
        ],
    )
