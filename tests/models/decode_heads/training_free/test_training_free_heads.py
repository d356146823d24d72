# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmseg.registry import MODELS

import ovseg_mm  # noqa: F401  registers the heads
from ovseg_mm.structures import CLIPFeatures
from ovseg_mm.utils.errors import InputError


@pytest.fixture
def features():
    torch.manual_seed(0)
    return CLIPFeatures(
        torch.randn(2, 6, 3, 4),
        torch.randn(2, 6),
        (),
        torch.randn(2, 5, 3, 4),
    )


@pytest.fixture
def text():
    torch.manual_seed(1)
    # Near each other, as texts are: probabilities are not all 0 or 1.
    text = torch.randn(6) + 0.05 * torch.randn(4, 3, 6)
    return torch.nn.functional.normalize(text, dim=2)


def cosines_of(features, text):
    out = torch.zeros(2, 4, 3, 4).double()
    for b, t, y, x in torch.cartesian_prod(*map(torch.arange, out.shape)):
        patch = features.dense[b, :, y, x].double()
        word = text[t].double().mean(dim=0)
        out[b, t, y, x] = patch @ word / (patch.norm() * word.norm())
    return out


def test_cosines(features, text):
    head = MODELS.build(dict(type='CosineHead'))
    assert not list(head.parameters())
    scores = head(features, text)
    torch.testing.assert_close(scores.double(), cosines_of(features, text))


def test_cosines_of_half_precision(features, text):
    half = features._replace(dense=features.dense.half())
    scores = MODELS.build(dict(type='CosineHead'))(half, text)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(
        scores.double(), cosines_of(features, text), atol=2e-3, rtol=0
    )


def test_nothing_to_train(features, text):
    head = MODELS.build(dict(type='CosineHead'))
    with pytest.raises(InputError, match='has nothing to train'):
        head.loss(features, text, None, 255)


def naive_mask_clip(features, text, denoise, smooth):
    """One view after the other, in float64."""
    views = []
    for scores, keys in zip(cosines_of(features, text), features.keys):
        probs = (100 * scores).softmax(dim=0)
        for t in range(len(scores)):
            if denoise is not None and probs[t].max() < denoise:
                scores[t] = -100.0
        if smooth is not None:
            probs = (100 * scores).softmax(dim=0).flatten(1)
            keys = keys.double().flatten(1)
            keys = keys / keys.norm(dim=1, keepdim=True)
            gram = keys.t() @ keys
            scores = probs.clone()
            for patch in range(probs.shape[1]):
                if probs[:, patch].max() < smooth:
                    scores[:, patch] = sum(
                        gram[patch, j] * probs[:, j]
                        for j in range(probs.shape[1])
                    )
            scores = scores.view(-1, 3, 4)
        views.append(scores)
    return torch.stack(views)


@pytest.mark.parametrize(
    ('denoise', 'smooth'),
    [(None, None), (0.999, None), (None, 0.9), (0.999, 0.9)],
)
def test_corrections_of_mask_clip(features, text, denoise, smooth):
    head = MODELS.build(
        dict(type='MaskCLIPHead', denoise_below=denoise, smooth_below=smooth)
    )
    expected = naive_mask_clip(features, text, denoise, smooth)
    scores = head(features, text).double()
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    plain = cosines_of(features, text)
    changed = (expected != plain).any()
    assert changed == (denoise is not None or smooth is not None)


def test_key_smoothing_needs_keys(features, text):
    head = MODELS.build(dict(type='MaskCLIPHead', smooth_below=1.0))
    with pytest.raises(InputError, match='give_keys=True'):
        head(features._replace(keys=None), text)
