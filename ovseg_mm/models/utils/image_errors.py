# SPDX-License-Identifier: Apache-2.0
"""Errors about images inside a model, where file names are not known."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg_mm.utils.errors import InputError

_SHOWN = 8


class ImageError(InputError):
    """The images of a batch do not fit the model.

    Parts of a model, which get only pixels, raise it;
    :func:`name_image_files` adds the names of the files.
    """


def name_image_files(method: Callable) -> Callable:
    """Decorate a method so that its errors name the image files.

    Args:
        method (Callable): Takes the images and, as its second argument, the
            ``SegDataSample`` of each or None.

    Returns:
        Callable: The method. An :class:`ImageError` in it becomes an
        :class:`InputError` that ends with the files of the batch, if the
        samples have them.
    """

    @wraps(method)
    def named(
        self: Any,
        inputs: Tensor,
        data_samples: list[SegDataSample] | None = None,
    ) -> Any:
        try:
            return method(self, inputs, data_samples)
        except ImageError as error:
            files = [
                str(sample.metainfo['img_path'])
                for sample in data_samples or ()
                if sample.metainfo.get('img_path')
            ]
            if not files:
                raise
            shown = ', '.join(files[:_SHOWN])
            if len(files) > _SHOWN:
                shown += f' and {len(files) - _SHOWN} more'
            raise InputError(f'{error} (in the batch: {shown})') from error

    return named
