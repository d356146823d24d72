# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.inference import argmax_labels, label_scores, postprocess
from ovseg_mm.inference.postprocess import class_parts


@pytest.mark.parametrize('at_a_time', [1, 7, 32, 1000])
@pytest.mark.parametrize('num_texts', [1, 6, 33, 150])
def test_chunks_equal_one_argmax(monkeypatch, at_a_time, num_texts):
    monkeypatch.setattr(postprocess, 'CLASSES_AT_A_TIME', at_a_time)
    # Few values, so that ties are many.
    scores = torch.randint(0, 9, (num_texts, 20, 30)).float() - 20
    asked = []

    def scores_of(classes):
        asked.append(classes)
        return scores[classes]

    table = torch.arange(num_texts)
    labels = argmax_labels(scores_of, table)
    assert labels.dtype == torch.int64
    # NumPy's argmax is the first of equals.
    assert (labels.numpy() == scores.numpy().argmax(axis=0)).all()
    # The first text tells the number of pixels.
    starts = sorted({0, 1, *range(0, num_texts, at_a_time)} - {num_texts})
    assert [c.start for c in asked] == starts
    assert [c.stop for c in asked] == [*starts[1:], num_texts]


def test_large_images_are_scored_one_class_at_a_time(monkeypatch):
    monkeypatch.setattr(postprocess, 'SCORES_AT_A_TIME', 100)
    for side, sizes in (
        (2, [1, 25, 6, 1]),  # a part lies in one block of 32
        (5, [1, *[4] * 7, 3, 1]),
        (11, [1] * 33),
    ):
        scores = torch.rand(33, side, side)
        parts = list(class_parts(scores.__getitem__, 33))
        assert [len(part) for _, part in parts] == sizes
        assert torch.equal(torch.cat([part for _, part in parts]), scores)
        labels = argmax_labels(scores.__getitem__, torch.arange(33))
        assert torch.equal(labels, scores.argmax(dim=0))


def test_labels_of_prompts_and_threshold(monkeypatch):
    monkeypatch.setattr(postprocess, 'CLASSES_AT_A_TIME', 2)
    scores = torch.rand(5, 8, 9)
    scores[:, 0, 0] = 0.25
    table = torch.tensor([3, 0, 0, 1, 2])
    best, index = scores.max(dim=0)
    labels = argmax_labels(lambda c: scores[c], table)
    expected = torch.tensor([[table[i] for i in row] for row in index])
    assert torch.equal(labels, expected)
    labels = argmax_labels(lambda c: scores[c], table, 0.9, 65535)
    assert torch.equal(labels, expected.where(best > 0.9, 65535))
    labels = argmax_labels(lambda c: scores[c], table, 0.25)
    assert labels[0, 0] == 255, 'a score that is not above the threshold'


@pytest.mark.parametrize('text', [0, 1, 3])
def test_not_a_number_wins_no_pixel(text):
    scores = torch.rand(4, 5, 6)
    scores[text] = torch.nan
    labels = argmax_labels(scores.__getitem__, torch.arange(4))
    assert torch.equal(labels, scores.nan_to_num(-1.0).argmax(dim=0))


def test_scores_of_labels_are_the_highest_of_their_texts():
    scores = torch.randn(5, 3, 4)
    table = torch.tensor([2, 0, 2, 1, 0])
    merged = label_scores(scores, table.tolist(), 3)
    expected = torch.stack(
        [
            torch.maximum(scores[1], scores[4]),
            scores[3],
            torch.maximum(scores[0], scores[2]),
        ]
    )
    assert torch.equal(merged, expected)
    labels = argmax_labels(lambda c: scores[c], table)
    assert torch.equal(merged.argmax(dim=0), labels)


def test_scores_without_a_mapping_are_not_copied():
    scores = torch.randn(3, 4, 5)
    assert label_scores(scores, [0, 1, 2], 3) is scores
    reordered = label_scores(scores, [1, 0, 2], 3)
    assert torch.equal(reordered, scores[[1, 0, 2]])


def test_label_without_a_text_never_wins():
    merged = label_scores(torch.randn(2, 3), [0, 2], 3)
    assert (merged[1] == -torch.inf).all()
