# SPDX-License-Identifier: Apache-2.0
"""Models with fixed words go through PyTorch's exporters."""

import pytest
import torch
from torch import nn

from ovseg_mm.models.region_encoders import clip_region_encoder
from ovseg_mm.utils.errors import InputError

from .methods import METHODS, build_method

pytestmark = pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_exporting'),
    reason='torch.export of this PyTorch cannot be noticed',
)


class Scores(nn.Module):
    """Scores at the size of the image."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model.inference(x)


def build(name):
    model = build_method(name).requires_grad_(False)
    if hasattr(model.decode_head, 'ensemble_weight'):
        model.decode_head.ensemble_weight = None
    return model


@pytest.mark.parametrize('name', METHODS)
def test_exported_models_compute_the_same(name):
    model = build(name)
    model.prepare_text()
    images = torch.randn(2, 1, 3, 64, 64)
    module = Scores(model)
    with torch.no_grad():
        exported = torch.export.export(module, (images[0],)).module()
        for img in images:
            wanted = module(img)
            assert wanted.shape == (1, len(model.vocabulary.names), 64, 64)
            torch.testing.assert_close(exported(img), wanted)


def test_words_that_are_not_ready():
    with pytest.raises(InputError, match='prepare_text'):
        torch.export.export(build('cat_seg'), (torch.randn(1, 3, 64, 64),))


def test_regions_are_refused(monkeypatch):
    model = build_method('zsseg')
    model.prepare_text()
    img = torch.randn(1, 3, 64, 64)
    with pytest.raises(InputError, match='ensemble_weight=None'):
        torch.export.export(model, (img,))
    monkeypatch.setattr(clip_region_encoder, 'is_in_onnx_export', lambda: True)
    with pytest.raises(InputError, match='ensemble_weight=None'):
        model(img)
