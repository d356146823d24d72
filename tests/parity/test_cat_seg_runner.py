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
    assert head.pooling == head.test_pooling == (5, 3)
    assert head.pad_len is None


def test_single_view_of_any_size(case):
    """The image is padded to 128x160, which are not cut away."""
    model = runner.load_model(case)
    outputs = cat_seg.run(case, model)
    assert outputs['labels'].shape == (100, 150)
    img = torch.from_numpy(seeded_image('image', 100, 150, case['seed']))
    mean, std = (
        getattr(model.data_preprocessor, name).view(3, 1, 1)
        for name in ('mean', 'std')
    )
    img = (img.permute(2, 0, 1) - mean) / std
    with torch.no_grad():
        logits = model.encode_decode(F.pad(img, (0, 10, 0, 28))[None])
    expected = F.interpolate(logits.sigmoid(), (100, 150), mode='bilinear')
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
