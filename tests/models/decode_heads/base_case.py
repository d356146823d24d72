# SPDX-License-Identifier: Apache-2.0
"""Checks that every head must pass.

A sub-class of :class:`HeadCase` names the head, its config and its features.
Letters: B images, T class texts, C embedding width, Q proposals, h, w
positions.
"""

import io
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

import ovseg_mm  # noqa: F401  registers the heads
from ovseg_mm.models.decode_heads import BaseOpenVocabHead
from ovseg_mm.utils.errors import InputError

CHANNELS = 16


class HeadCase:
    """A head on random features of its kind.

    Attributes:
        cfg (dict): Config of the head without its ``type``; texts have 16
            channels.
        head (type): Class of the head.
        stride (int): Positions of the scores in one of ``grid``.
    """

    head: type
    cfg: dict = {}
    stride = 1

    def feats(self, batch: int, grid: tuple[int, int]) -> Any:
        """Features of a batch; a NamedTuple that the head takes."""
        raise NotImplementedError

    def build(self, seed: int = 0) -> nn.Module:
        """The head with random parameters, in evaluation mode."""
        torch.manual_seed(seed)
        head = MODELS.build(dict(self.cfg, type=self.head.__name__))
        # Zeros and ones, as biases and norms start, would hide faults.
        for parameter in head.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
        return head.eval()

    def inputs(
        self, batch: int = 2, classes: int = 4, grid: tuple = (4, 6)
    ) -> tuple[Any, Tensor]:
        """Features and normalised texts, (T, 1, C)."""
        torch.manual_seed(1)
        feats = self.feats(batch, grid)
        text = torch.randn(classes, 1, CHANNELS)
        return feats, F.normalize(text, dim=2)

    @torch.no_grad()
    def predict(
        self, head: nn.Module, feats: Any, text: Tensor
    ) -> tuple[Tensor, ...]:
        """Scores, (B, T, ...), and outputs that have no class, (B, ...)."""
        return (head(feats, text),)

    def labels(self, classes: int = 4, size: tuple = (24, 36)) -> Tensor:
        """Labels of two images, with some pixels to ignore."""
        labels = torch.arange(2 * size[0] * size[1]).view(2, *size)
        labels = labels // 40 % classes
        labels[:, :5] = 255
        return labels

    def test_contract(self):
        head = self.build()
        assert isinstance(head, BaseOpenVocabHead)
        assert head.method, 'messages and reports name it'

    @pytest.mark.parametrize('classes', [1, 4, 19])
    @pytest.mark.parametrize('grid', [(4, 6), (5, 7), (3, 2)])
    def test_predict(self, classes, grid):
        feats, text = self.inputs(classes=classes, grid=grid)
        scores, *rest = self.predict(self.build(), feats, text)
        assert scores.shape[:2] == (2, classes)
        self.check_size(scores, grid)
        for output in (scores, *rest):
            assert output.isfinite().all()
            assert output.dtype == torch.float32

    def check_size(self, scores: Tensor, grid: tuple[int, int]) -> None:
        """Look at the positions of the scores."""
        assert scores.shape[2:] == tuple(self.stride * n for n in grid)

    def test_two_images_are_two_times_one(self):
        head, (feats, text) = self.build(), self.inputs()
        both = self.predict(head, feats, text)
        for image in range(2):
            alone = self.predict(head, _select(feats, image), text)
            for actual, expected in zip(alone, both, strict=True):
                assert_near(actual, expected[image, None])
        assert not torch.allclose(both[0][0], both[0][1])

    def test_classes_in_another_order(self):
        """No class is treated by its number."""
        head, (feats, text) = self.build(), self.inputs(classes=5)
        order = torch.tensor([3, 0, 4, 1, 2])
        scores, *rest = self.predict(head, feats, text)
        found, *others = self.predict(head, feats, text[order])
        assert_near(found, scores[:, order])
        assert not torch.allclose(scores, scores[:, order])
        for actual, expected in zip(others, rest, strict=True):
            assert_near(actual, expected)

    def test_saved_and_loaded(self):
        head, (feats, text) = self.build(), self.inputs()
        file = io.BytesIO()
        torch.save(head.state_dict(), file)
        file.seek(0)
        other = self.build(seed=2)
        expected = self.predict(head, feats, text)
        if head.state_dict():
            before = self.predict(other, feats, text)
            assert not torch.allclose(before[0], expected[0])
        other.load_state_dict(torch.load(file, weights_only=True))
        for actual, wanted in zip(
            self.predict(other, feats, text), expected, strict=True
        ):
            assert torch.equal(actual, wanted)

    def test_autocast_predicts(self):
        head, (feats, text) = self.build(), self.inputs()
        expected = self.predict(head, feats, text)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            found = self.predict(head, feats, text)
        for actual, wanted in zip(found, expected, strict=True):
            assert_near(actual.float(), wanted, 3e-2)


class UntrainedHeadCase(HeadCase):
    """A head without a loss."""

    def test_loss(self):
        head, (feats, text) = self.build(), self.inputs()
        with pytest.raises(InputError, match='nothing to train'):
            head.loss(feats, text, self.labels(), 255)


class TrainedHeadCase(HeadCase):
    """A head with a loss."""

    def loss_of(self, head: nn.Module, feats: Any, text: Tensor, labels):
        """Losses by name, with the same random points in every call."""
        torch.manual_seed(3)
        return head.loss(feats, text, labels, 255)

    def test_loss(self):
        head, (feats, text) = self.build(), self.inputs()
        losses = self.loss_of(head.train(), feats, text, self.labels())
        losses = {k: v for k, v in losses.items() if k != 'acc_seg'}
        assert losses and all(name.startswith('loss') for name in losses)
        assert all(loss > 0 for loss in losses.values())
        sum(losses.values()).backward()
        for name, parameter in head.named_parameters():
            grad = parameter.grad
            assert grad is not None and grad.isfinite().all(), name
        assert any(p.grad.any() for p in head.parameters())

    def test_loss_of_classes_in_another_order(self):
        head, (feats, text) = self.build().train(), self.inputs()
        labels, order = self.labels(), torch.tensor([2, 3, 1, 0])
        expected = self.loss_of(head, feats, text[order], labels)
        named = order[labels.clamp(max=3)].where(labels != 255, 255)
        found = self.loss_of(head, feats, text, named)
        wrong = self.loss_of(head, feats, text, labels)
        assert found.keys() == expected.keys()
        for name, loss in found.items():
            torch.testing.assert_close(loss, expected[name], msg=name)
        assert any(loss != expected[name] for name, loss in wrong.items())

    def test_ignored_pixels_have_no_loss(self):
        head, (feats, text) = self.build().train(), self.inputs()
        labels = self.labels()
        # Another number for the same pixels.
        torch.manual_seed(3)
        expected = head.loss(feats, text, labels, 255)
        torch.manual_seed(3)
        found = head.loss(feats, text, labels.where(labels != 255, 254), 254)
        for name, loss in found.items():
            torch.testing.assert_close(loss, expected[name], msg=name)
        # Nothing is known of any pixel.
        losses = self.loss_of(head, feats, text, labels * 0 + 255)
        assert all(loss.isfinite().all() for loss in losses.values())

    def test_autocast_trains(self):
        head, (feats, text) = self.build().train(), self.inputs()
        expected = self.loss_of(head, feats, text, self.labels())
        with torch.autocast('cpu', dtype=torch.bfloat16):
            losses = self.loss_of(head, feats, text, self.labels())
        for name, loss in losses.items():
            if name == 'acc_seg':
                continue
            assert loss.dtype == torch.float32
            torch.testing.assert_close(
                loss, expected[name], rtol=0.1, atol=0.01, msg=name
            )
        sum(v for k, v in losses.items() if k != 'acc_seg').backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad.isfinite().all(), name


class MaskHeadCase(TrainedHeadCase):
    """A head of mask proposals: 4 of them, masks at twice the grid."""

    @torch.no_grad()
    def predict(self, head, feats, text):
        """Class scores (B, T, Q), no object (B, Q), masks (B, Q, h, w)."""
        classes, masks = (x[-1] for x in head(feats, text))
        scores = classes.transpose(1, 2)
        return scores[:, :-1], scores[:, -1], masks

    def check_size(self, scores, grid):
        """One score a proposal."""
        assert scores.shape[2:] == (4,)

    def test_masks_have_the_size_of_the_pixel_decoder(self):
        feats, text = self.inputs(grid=(5, 7))
        masks = self.predict(self.build(), feats, text)[2]
        assert masks.shape == (2, 4, *feats.mask_features.shape[2:])


def assert_near(actual: Tensor, expected: Tensor, tolerance=1e-5) -> None:
    """Compare tensors by their relative distance."""
    assert actual.shape == expected.shape
    error = (actual - expected).norm() / expected.norm()
    assert error < tolerance, float(error)


def _select(feats: Any, image: int) -> Any:
    """Features of one image of a batch."""
    if isinstance(feats, Tensor):
        return feats[image, None]
    if isinstance(feats, dict):
        return {key: _select(value, image) for key, value in feats.items()}
    if hasattr(feats, '_fields'):
        return type(feats)(*(_select(value, image) for value in feats))
    if isinstance(feats, tuple):
        return tuple(_select(value, image) for value in feats)
    return feats
