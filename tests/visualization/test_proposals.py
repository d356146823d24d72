# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from ovseg_mm.visualization import OpenVocabVisualizer
from ovseg_mm.visualization.proposals import draw_proposals


@pytest.mark.parametrize('count', [1, 3, 7])
def test_sheet_has_the_width_asked_for(count):
    image = np.full((40, 60, 3), 200, np.uint8)
    masks = np.zeros((count, 40, 60), bool)
    masks[:, 5:20, 5:30] = True
    captions = [('embedding: cat 0.91', 'no region')] * count
    sheet = draw_proposals(image, masks, captions, 600)
    assert sheet.shape[1] == 600 and sheet.dtype == np.uint8
    # inside as it was, outside darkened, on white paper
    values = {tuple(pixel) for pixel in sheet.reshape(-1, 3)}
    assert {(200, 200, 200), (50, 50, 50), (255, 255, 255)} <= values


def test_long_captions_are_cut_and_masks_may_be_empty():
    image = np.zeros((30, 30, 3), np.uint8)
    captions = [('x' * 500, 'y'), ('a', 'b')]
    sheet = draw_proposals(image, np.zeros((2, 30, 30), bool), captions, 300)
    assert sheet.shape[1] == 300


def test_visualiser_draws_them_below_the_prediction():
    visualizer = OpenVocabVisualizer(classes=['cat', 'dog'])
    image = np.full((40, 60, 3), 90, np.uint8)
    sample = SegDataSample(
        pred_sem_seg=PixelData(data=torch.zeros(1, 40, 60).long())
    )
    plain = visualizer.draw_sample(image, sample)
    masks = torch.zeros(2, 40, 60, dtype=torch.bool)
    masks[:, :20] = True
    sample.proposals = InstanceData(
        masks=masks,
        labels=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.4]),
        region_labels=torch.tensor([1, 0]),
        region_scores=torch.tensor([0.7, torch.nan]),
    )
    drawn = visualizer.draw_sample(image, sample)
    assert drawn.shape[1] == plain.shape[1]
    assert len(drawn) > len(plain)
    assert np.array_equal(drawn[: len(plain)], plain)
    assert np.array_equal(
        visualizer.draw_sample(image, sample, draw_pred=False), image
    )
