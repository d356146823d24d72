# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmseg.models import EncoderDecoder

from ovseg_mm.inference import (
    fuse_views,
    sliding_views,
    whole_view,
    window_starts,
)
from ovseg_mm.utils.resize import resize


def bilinear(x, size):
    return F.interpolate(x, size, mode='bilinear', align_corners=False)


@pytest.fixture
def network():
    """Windows to logits of a quarter of their size, five classes."""
    conv = torch.nn.Conv2d(3, 5, 4, stride=4)
    return lambda img: conv(img).detach()


@pytest.mark.parametrize(
    ('size', 'crop', 'stride'),
    [
        ((64, 64), (64, 64), (64, 64)),
        ((96, 130), (64, 64), (40, 40)),
        ((96, 130), (64, 48), (64, 48)),
        ((101, 77), (32, 64), (21, 13)),
        ((65, 64), (64, 64), (64, 64)),
        ((128, 128), (64, 64), (32, 64)),
    ],
)
def test_sums_of_mmsegs_slide_inference(network, size, crop, stride):
    img = torch.randn(1, 3, *size)

    def encode_decode(window, metas):
        return bilinear(network(window), window.shape[2:])

    stock = SimpleNamespace(
        test_cfg=SimpleNamespace(crop_size=crop, stride=stride),
        out_channels=5,
        encode_decode=encode_decode,
    )
    expected = EncoderDecoder.slide_inference(stock, img, [dict()])[0]
    views, layout = sliding_views(img[0], crop, stride)
    scores = fuse_views(network(views), layout, lambda logits: logits)
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize('size', [(75, 50), (64, 96), (30, 40)])
@pytest.mark.parametrize('global_view', [False, True])
def test_canvas_and_global_view(network, size, global_view):
    """CAT-Seg's protocol, by PyTorch's own unfold and fold."""
    img = torch.randn(3, *size)
    views, layout = sliding_views(
        img, (48, 48), (32, 32), (80, 80), global_view
    )
    scores = fuse_views(network(views), layout, torch.sigmoid)

    unfold = dict(kernel_size=48, stride=32)
    windows = F.unfold(bilinear(img[None], (80, 80)), **unfold)
    windows = windows[0].t().reshape(4, 3, 48, 48)
    torch.testing.assert_close(views[:4], windows)
    probs = bilinear(network(windows), (48, 48)).sigmoid()
    probs = probs.flatten(1).t()[None]
    counts = F.fold(torch.ones_like(probs), (80, 80), **unfold)
    expected = F.fold(probs, (80, 80), **unfold) / counts
    assert counts.unique().tolist() == [1, 2, 4]
    if global_view:
        whole = bilinear(network(bilinear(img[None], (48, 48))), (48, 48))
        expected = (expected + bilinear(whole.sigmoid(), (80, 80))) / 2
    assert len(views) == 4 + global_view
    assert scores.shape == (5, 80, 80)
    torch.testing.assert_close(scores, expected[0])


@pytest.mark.parametrize('size', [(30, 100), (100, 30), (20, 30), (64, 63)])
def test_small_images_are_padded_at_the_right_and_bottom(network, size):
    img = torch.randn(3, *size)
    views, layout = sliding_views(img, (64, 64), (40, 40))
    padded = F.pad(img, (0, max(64 - size[1], 0), 0, max(64 - size[0], 0)))
    expected, layout_of_padded = sliding_views(padded, (64, 64), (40, 40))
    assert torch.equal(views, expected)
    assert layout.size == size
    scores = fuse_views(network(views), layout, torch.sigmoid)
    whole = fuse_views(network(views), layout_of_padded, torch.sigmoid)
    assert scores.shape == (5, *size)
    assert torch.equal(scores, whole[:, : size[0], : size[1]])


def test_global_view_of_a_small_image_is_resized_not_padded():
    img = torch.randn(3, 20, 30)
    views, layout = sliding_views(img, (64, 64), (40, 40), global_view=True)
    assert len(views) == 2 and layout.size == (20, 30)
    torch.testing.assert_close(views[1:], bilinear(img[None], (64, 64)))


def test_whole_view_keeps_the_size_of_the_logits(network):
    img = torch.randn(3, 40, 60)
    views, layout = whole_view(img)
    assert torch.equal(views[0], img) and layout.size == (40, 60)
    logits = network(views)
    scores = fuse_views(logits, layout, torch.sigmoid)
    torch.testing.assert_close(scores, logits[0].sigmoid())


def test_scores_of_a_whole_view_at_the_size_of_the_input(network):
    views, layout = whole_view(torch.randn(3, 40, 60))
    logits = network(views)
    scores = fuse_views(logits, layout, torch.sigmoid, 'input')
    expected = bilinear(logits, (40, 60)).sigmoid()
    torch.testing.assert_close(scores, expected[0])


def test_windows_have_scores_at_the_size_of_the_input_anyway(network):
    img = torch.randn(3, 90, 70)
    views, layout = sliding_views(img, (64, 64), (40, 40), global_view=True)
    logits = network(views)
    scores = fuse_views(logits, layout, torch.sigmoid, 'input')
    torch.testing.assert_close(
        scores, fuse_views(logits, layout, torch.sigmoid)
    )


@pytest.mark.parametrize('side', [16, 64])
def test_activation_in_place_spares_the_logits(side):
    img = torch.randn(3, 90, 64)
    for views, layout in (
        whole_view(img),
        sliding_views(img, (64, 64), (40, 40), global_view=True),
    ):
        logits = torch.randn(len(views), 5, side, side)
        before = logits.clone()
        first = fuse_views(logits, layout, lambda x: x.sigmoid_())
        assert torch.equal(logits, before)
        expected = fuse_views(logits, layout, torch.sigmoid)
        torch.testing.assert_close(first, expected)


def test_classes_can_be_fused_a_few_at_a_time():
    img = torch.randn(3, 90, 70)
    views, layout = sliding_views(img, (64, 64), (40, 40), global_view=True)
    logits = torch.randn(len(views), 7, 16, 16)
    whole = fuse_views(logits, layout, torch.sigmoid)
    parts = [
        fuse_views(logits[:, start : start + 3], layout, torch.sigmoid)
        for start in (0, 3, 6)
    ]
    torch.testing.assert_close(torch.cat(parts), whole)


@pytest.mark.parametrize('size', [1, 40, 64, 65, 100, 128, 640])
@pytest.mark.parametrize('stride', [1, 21, 64])
def test_windows_cover_the_axis(size, stride):
    starts = window_starts(size, 64, stride)
    covered = {p for s in starts for p in range(s, s + 64)}
    assert covered >= set(range(size))
    assert starts[0] == 0 and starts == sorted(set(starts))
    assert starts[-1] + 64 == max(size, 64)
    assert all(b - a <= stride for a, b in zip(starts, starts[1:]))
    # None is there in vain.
    assert len(starts) == -(-max(size - 64, 0) // stride) + 1


def test_resize_is_the_tensor_itself_if_it_fits():
    x = torch.randn(1, 2, 5, 6)
    assert resize(x, (5, 6)) is x
    assert resize(x, [5, 6]) is x
    torch.testing.assert_close(resize(x, (7, 9)), bilinear(x, (7, 9)))


def test_windows_of_a_smaller_image_fit_as_mmsegs(network):
    img = torch.randn(1, 3, 40, 100)
    crop, stride = (64, 64), (32, 32)

    def encode_decode(window, metas):
        assert window.shape[2:] == (40, 64)
        return bilinear(network(window), window.shape[2:])

    stock = SimpleNamespace(
        test_cfg=SimpleNamespace(crop_size=crop, stride=stride),
        out_channels=5,
        encode_decode=encode_decode,
    )
    expected = EncoderDecoder.slide_inference(stock, img, [dict()])[0]
    views, layout = sliding_views(img[0], crop, stride, fit=True)
    scores = fuse_views(network(views), layout, lambda logits: logits)
    torch.testing.assert_close(scores, expected)
    padded, layout = sliding_views(img[0], crop, stride)
    assert padded.shape[2:] == layout.window == (64, 64)


def test_padding_to_a_divisor_is_half_on_each_side_and_cut_away(network):
    img = torch.randn(3, 45, 51)
    views, layout = sliding_views(
        img, (64, 64), (32, 32), fit=True, divisor=16
    )
    assert layout.window == (45, 51)
    # 3 rows and 13 columns are missing.
    assert layout.padding == (6, 7, 1, 2)
    assert torch.equal(views[0], F.pad(img, (6, 7, 1, 2)))
    logits = network(views)
    scores = fuse_views(logits, layout, lambda part: part)
    whole = bilinear(logits, (48, 64))[0]
    torch.testing.assert_close(scores, whole[:, 1:46, 6:57])


def test_padded_windows_are_averaged_where_they_overlap(network):
    img = torch.randn(3, 20, 50)
    views, layout = sliding_views(img, (20, 30), (20, 20), divisor=8)
    assert views.shape[2:] == (24, 32) and layout.corners[1] == (0, 20)
    logits = network(views)
    left, right = bilinear(logits, (24, 32))[:, :, 2:22, 1:31]
    scores = fuse_views(logits, layout, lambda part: part)
    torch.testing.assert_close(
        scores[:, :, 20:30], (left[..., 20:] + right[..., :10]) / 2
    )
