# SPDX-License-Identifier: Apache-2.0
"""Overridden template methods of MMSegmentation are heard or refused."""

import pytest
import torch
from mmseg.registry import MODELS

from ovseg_mm.models import OpenVocabMaskSegmentor, OpenVocabSegmentor
from ovseg_mm.utils.errors import InputError

from ...tiny import cat_seg


def override(*bases, **methods) -> type:
    """A sub-class with methods of its own."""
    return type('Mine', bases, methods)


@pytest.mark.parametrize(
    'parent', [OpenVocabSegmentor, OpenVocabMaskSegmentor]
)
@pytest.mark.parametrize(
    ('name', 'instead'),
    [
        ('slide_inference', 'cut_views or encode_views'),
        ('whole_inference', 'cut_views or encode_views'),
        ('postprocess_result', 'write_result'),
        ('_decode_head_forward_train', 'loss of the decode head'),
        ('aug_test', 'encode_views'),
    ],
)
def test_methods_that_are_never_called(parent, name, instead):
    with pytest.raises(InputError, match=f'Mine.{name} .*override {instead}'):
        override(parent, **{name: lambda self, *args: None})


def test_a_mixin_that_overrides_one():
    mixin = type('Mixin', (), dict(slide_inference=lambda self, *args: None))
    with pytest.raises(InputError, match='Mine.slide_inference is never'):
        override(mixin, OpenVocabSegmentor)


def test_a_second_generation():
    parent = override(OpenVocabMaskSegmentor)
    with pytest.raises(InputError, match='encode_decode .* encode_views'):
        override(parent, encode_decode=lambda self, *args: None)


def test_methods_named_instead_are_heard():
    calls = []

    def spy(name):
        def method(self, *args):
            calls.append(name)
            return getattr(OpenVocabSegmentor, name)(self, *args)

        return method

    names = ('cut_views', 'encode_views', 'encode_decode', 'write_result')
    heard = override(OpenVocabSegmentor, **{name: spy(name) for name in names})
    model = MODELS.build({**cat_seg(), 'type': heard}).eval()
    with torch.no_grad():
        model.predict(torch.rand(1, 3, 32, 32))
    assert calls == list(names)
