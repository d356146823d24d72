# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmseg.models import SwinTransformer

from ovseg_mm.models import FusedSwinTransformer
from ovseg_mm.models.utils import chunks


@pytest.fixture
def build():
    """Function from options to MMSegmentation's Swin and ours, alike."""

    def build(**options):
        torch.manual_seed(0)
        options = dict(
            embed_dims=8,
            depths=(2, 2),
            num_heads=(2, 4),
            window_size=3,
            strides=(4, 2),
            out_indices=(0, 1),
            **options,
        )
        theirs = SwinTransformer(**options)
        for name, parameter in theirs.named_parameters():
            if 'bias' in name:
                torch.nn.init.normal_(parameter)
        ours = FusedSwinTransformer(**options)
        ours.load_state_dict(theirs.state_dict())
        theirs.eval()
        ours.eval()
        return theirs, ours

    return build


def check_equal(ours, theirs, images):
    with torch.no_grad():
        pairs = zip(ours(images), theirs(images), strict=True)
        for found, expected in pairs:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


# Maps with and without padding, of many windows, of one and of less than one.
@pytest.mark.parametrize('size', [(48, 48), (40, 56), (12, 24), (8, 4)])
def test_equals_mmseg(build, size):
    theirs, ours = build()
    check_equal(ours, theirs, torch.randn(2, 3, *size))


@pytest.mark.parametrize('options', [dict(qkv_bias=False), dict(qk_scale=0.5)])
def test_options(build, options):
    theirs, ours = build(**options)
    check_equal(ours, theirs, torch.randn(1, 3, 40, 40))


def test_parts_of_the_windows(build, monkeypatch):
    theirs, ours = build()
    monkeypatch.setattr(chunks, 'CHUNK_BYTES', dict(cpu=1 << 12))
    check_equal(ours, theirs, torch.randn(2, 3, 40, 56))


def test_trains_like_mmseg(build):
    theirs, ours = build()
    images = torch.randn(1, 3, 40, 40)
    for model in (theirs, ours):
        sum(x.square().sum() for x in model(images)).backward()
    for ours_one, theirs_one in zip(
        ours.parameters(), theirs.parameters(), strict=True
    ):
        torch.testing.assert_close(ours_one.grad, theirs_one.grad)
