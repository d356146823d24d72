# SPDX-License-Identifier: Apache-2.0
"""CAT-Seg's runner on cases that differ from the stored ones."""

from pathlib import Path

import cat_seg
import pytest
import runner
import torch
import torch.nn.functional as F
from seeded import load_case, seeded_image

CASES = Path(__file__).parent / 'cases' / 'cat_seg'


@pytest.fixture
def case():
    """Inference with a single view, its size not stored."""
    case = load_case(CASES / 'tiny_sliding')
    case['config']['sliding_window'] = False
    (entry,) = case['inputs']
    entry.update(height=100, width=150)
    del entry['out_height'], entry['out_width']
    return case


def test_options_of_other_cases(case):
    case['config'].update(pad_len=0)
    case['config']['aggregator']['pooling_sizes'] = [5, 3]
    head = cat_seg.build_config(case).model.decode_head
    classwise = head.classwise
    assert classwise.pooling == classwise.test_pooling == (5, 3)
    assert head.pad_len is None


@pytest.mark.parametrize('size', [(100, 150), (60, 150)])
def test_single_view_of_any_size(case, size):
    """Padding to multiples of 32 is not cut away, but small maps are cut."""
    height, width = size
    case['inputs'][0].update(height=height, width=width)
    model = runner.load_model(case)
    outputs = cat_seg.run(case, model)
    assert outputs['labels'].shape == size
    img = torch.from_numpy(seeded_image('image', *size, case['seed']))
    mean, std = (
        getattr(model.data_preprocessor, name).view(3, 1, 1)
        for name in ('mean', 'std')
    )
    img = (img.permute(2, 0, 1) - mean) / std
    with torch.no_grad():
        padded = F.pad(img, (0, 160 - width, 0, -height % 32))
        scores = model.encode_decode(padded[None]).sigmoid()
    assert scores.shape[2:] == (96, 96)
    scores = scores[:, :, :height, :width]
    expected = F.interpolate(scores, size, mode='bilinear')
    torch.testing.assert_close(
        torch.from_numpy(outputs['scores']), expected[0]
    )


def test_a_single_class_is_everywhere(case):
    case['class_texts'] = ['zebra']
    outputs = cat_seg.run(case, runner.load_model(case))
    assert len(outputs['scores']) == 1
    assert not outputs['labels'].any()


def test_windows_have_a_canvas(case):
    case['config']['sliding_window'] = True
    outputs = cat_seg.run(case, runner.load_model(case))
    assert outputs['labels'].shape == (640, 640)


def test_training_images_of_any_size():
    case = load_case(CASES / 'tiny_train')
    for entry in case['inputs']:
        for part in (entry, entry['labels']):
            part.update(height=100, width=150)
    model = runner.load_model(case)
    shapes = []
    model.backbone.register_forward_pre_hook(
        lambda _module, inputs: shapes.append(tuple(inputs[0].shape))
    )
    cat_seg.run(case, model)
    assert shapes == [(2, 3, 128, 160)]
