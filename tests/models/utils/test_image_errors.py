# SPDX-License-Identifier: Apache-2.0
"""Errors of images name the files of their batch."""

import pytest
import torch
from mmseg.structures import SegDataSample

from ovseg_mm.models.utils import ImageError, name_image_files
from ovseg_mm.utils.errors import InputError


class Model:
    error = ImageError('too small')

    @name_image_files
    def loss(self, inputs, data_samples=None):
        """Loss."""
        raise self.error


def samples(count):
    metas = [dict(img_path=f'{index}.png') for index in range(count)]
    return [SegDataSample(metainfo=meta) for meta in metas]


def test_files():
    inputs = torch.ones(2, 3, 4, 4)
    with pytest.raises(
        InputError, match=r'^too small \(files .*: 0\.png, 1\.p'
    ):
        Model().loss(inputs, samples(2))
    with pytest.raises(InputError, match=r'7\.png and 4 more\)$'):
        Model().loss(inputs, data_samples=samples(12))


def test_batches_without_files():
    for data_samples in (None, [], [SegDataSample()]):
        with pytest.raises(InputError, match='^too small$'):
            Model().loss(torch.ones(1), data_samples)


def test_other_errors_stay():
    model = Model()
    model.error = InputError('other')
    with pytest.raises(InputError, match='^other$'):
        model.loss(torch.ones(1), samples(1))
