# SPDX-License-Identifier: Apache-2.0
"""The layout of MMSegmentation's project CAT-Seg."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from ovseg_mm.checkpoints import convert, load_checkpoint_into, recognise
from ovseg_mm.checkpoints.layouts.cat_seg_v1 import project_name

PARITY = Path(__file__).parents[1] / 'parity'
QK = 'neck.layers.0.spatial_agg.block_1.attn.w_msa.qk.weight'


@pytest.fixture
def parts(monkeypatch):
    """Config of a small model, and weights under the project's names."""
    monkeypatch.syspath_prepend(PARITY)
    import cat_seg_v1
    from seeded import build_checkpoint, load_case

    case = load_case(PARITY / 'cases' / 'cat_seg_v1' / 'tiny_resnet_slide')
    init_default_scope('mmseg')
    weights = {
        name: torch.from_numpy(array)
        for name, array in build_checkpoint(case).items()
    }
    return cat_seg_v1.build_config(case), weights


def test_every_tensor_is_used_or_dropped_for_a_reason(parts, tmp_path):
    config, weights = parts
    index = torch.zeros(144, 144, dtype=torch.int64)
    weights[QK.replace('qk.weight', 'relative_position_index')] = index
    weights['backbone.text_features'] = torch.zeros(3, 80, 64)
    weights['backbone.text_features_test'] = torch.zeros(3, 80, 64)
    weights['backbone.feature_extractor.bn1.num_batches_tracked'] = (
        torch.tensor(0)
    )
    torch.save(dict(state_dict=weights), tmp_path / 'theirs.pth')
    report = convert(tmp_path / 'theirs.pth', tmp_path / 'ours.pth', config)
    assert report.layout == 'cat_seg_v1' and report.checked
    assert not report.unused
    assert set(report.dropped) == {
        'backbone.clip_model.logit_scale',
        'backbone.text_features',
        'backbone.text_features_test',
        QK.replace('qk.weight', 'relative_position_index'),
    }
    assert 'made anew' in report.dropped['backbone.text_features']
    model = MODELS.build(config.model)
    report = load_checkpoint_into(model, tmp_path / 'ours.pth')
    assert report.layout == 'cat_seg_v1_ovseg_mm'
    attn = model.decode_head.layers[0].spatial.blocks[0].attn
    together = torch.cat([attn.q.weight, attn.k.weight])
    assert torch.equal(together, weights[QK])
    conv = 'backbone.feature_extractor.layer3.5.conv3.weight'
    assert torch.equal(
        model.backbone.guidance.layer3[5].conv3.weight, weights[conv]
    )


def test_names_in_the_project(parts):
    """What is said to be a tensor's name there is what it comes from."""
    config, weights = parts
    name_there = {}
    for name, tensor in weights.items():
        for ours in recognise(weights).convert({name: tensor}).state_dict:
            name_there[ours] = name
    model = MODELS.build(config.model)
    for name, _ in model.named_parameters():
        assert project_name(name) == name_there[name]
    prompts = 'backbone.clip_model.visual.transformer.prompt_tokens'
    assert project_name('backbone.clip.prompt_tokens') == prompts
    assert project_name('logit_scale') == 'logit_scale'


def test_the_versions_are_told_apart(parts):
    config, weights = parts
    assert recognise(weights).method == 'CAT-Seg v1'
    model = MODELS.build(config.model)
    assert recognise(model.state_dict()).name == 'cat_seg_v1_ovseg_mm'


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        (QK, r'blocks\.0\.attn\.q\.weight is missing; .*k\.weight is miss'),
        ('neck.conv1.bias', r'cost_embedding\.bias is missing'),
        (
            'backbone.feature_extractor.bn1.running_var',
            r'guidance\.bn1\.running_var is missing',
        ),
    ],
)
def test_missing_tensors(parts, tmp_path, name, message):
    config, weights = parts
    del weights[name]
    torch.save(dict(state_dict=weights), tmp_path / 'theirs.pth')
    with pytest.raises(ValueError, match=message) as error:
        convert(tmp_path / 'theirs.pth', tmp_path / 'ours.pth', config)
    assert re.search('does not fit the model', str(error.value))
    assert not (tmp_path / 'ours.pth').exists()
