# SPDX-License-Identifier: Apache-2.0
"""Errors about images, raised where the file names are not known."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg_mm.utils.errors import InputError

_SHOWN = 8


class ImageError(InputError):
    """Error raised if images of a batch do not fit the model.

    Modules that see only pixels raise this error. The decorator
    :func:`name_image_files` adds the file names to the message.
    """


def name_image_files(method: Callable) -> Callable:
    """Decorator that adds file names to the image errors of a method.

    If the method raises :class:`ImageError`, the decorator adds the file names
    of the batch to the message and raises an :class:`InputError`. If the
    samples have no file names, the original error is raised.

    Args:
        method (Callable): Method with two arguments: images, and their
            samples (``SegDataSample``) or None.

    Returns:
        Callable: The decorated method.
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
            raise InputError(
                f'{error} (files of the batch: {shown})'
            ) from error

    return named
