# SPDX-License-Identifier: Apache-2.0
"""The layouts of MMSegmentation's project CAT-Seg and of the authors."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from ovseg_mm.checkpoints import (
    LAYOUTS,
    convert,
    load_checkpoint_into,
    recognise,
)
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
    assert 'computed again' in report.dropped['backbone.text_features']
    model = MODELS.build(config.model)
    report = load_checkpoint_into(model, tmp_path / 'ours.pth')
    assert report.layout == 'ovseg_mm'
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


# Parts of names in the project and in the authors' files, in this order.
AUTHORS = [
    (r'^backbone\.clip_model', 'sem_seg_head.predictor.clip_model'),
    (r'^backbone\.feature_extractor\.', 'backbone.'),
    (r'^backbone\.conv1', 'backbone.stem.conv1'),
    (r'^backbone\.bn1', 'backbone.stem.conv1.norm'),
    (r'^backbone\.layer1', 'backbone.res2'),
    (r'^backbone\.layer2', 'backbone.res3'),
    (r'^backbone\.layer3', 'backbone.res4'),
    (r'^(backbone\.res.*)\.bn(\d)\.', r'\1.conv\2.norm.'),
    (r'downsample\.0', 'shortcut'),
    (r'downsample\.1', 'shortcut.norm'),
    (r'^(?:neck|decode_head)\.', 'sem_seg_head.predictor.transformer.'),
    (r'spatial_agg', 'swin_block'),
    (r'w_msa\.', ''),
    (r'ffn\.layers\.0\.0', 'mlp.fc1'),
    (r'ffn\.layers\.1', 'mlp.fc2'),
    (r'class_agg\.MLP\.layers\.0\.0', 'attention.MLP.0'),
    (r'class_agg\.MLP\.layers\.1', 'attention.MLP.2'),
    (r'class_agg\.', 'attention.'),
    (r'(decoder[12])\.conv1\.conv', r'\1.conv.double_conv.0'),
    (r'(decoder[12])\.conv1\.gn', r'\1.conv.double_conv.1'),
    (r'(decoder[12])\.conv2\.conv', r'\1.conv.double_conv.3'),
    (r'(decoder[12])\.conv2\.gn', r'\1.conv.double_conv.4'),
    (r'conv_seg', 'head'),
]


@pytest.fixture
def authors_weights(parts):
    """The same weights under the names of detectron2."""
    renamed = {}
    for name, tensor in parts[1].items():
        for pattern, replacement in AUTHORS:
            name = re.sub(pattern, replacement, name)
        if '.attn.qk.' in name:
            for key, part in zip('qk', tensor.chunk(2)):
                renamed[name.replace('attn.qk', f'attn.{key}')] = part
        else:
            renamed[name] = tensor
    block = 'sem_seg_head.predictor.transformer.layers.0.swin_block.block_2'
    renamed[f'{block}.attn_mask'] = torch.zeros(4, 144, 144)
    return renamed


def test_weights_of_the_authors(parts, authors_weights, tmp_path):
    config, weights = parts
    source, target = tmp_path / 'model_final_base.pth', tmp_path / 'ours.pth'
    torch.save(dict(model=authors_weights, iteration=80000), source)
    report = convert(source, target, config)
    assert (report.layout, report.checked) == ('cat_seg_v1_authors', True)
    assert not report.unused
    assert {name.rsplit('.', 1)[-1] for name in report.dropped} == {
        'logit_scale',
        'attn_mask',
    }
    expected = recognise(weights).convert(weights).state_dict
    found = torch.load(target, weights_only=True)['state_dict']
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def test_swin_of_the_authors(authors_weights):
    guide = 'backbone.layers.2.blocks.17.'
    weights = {
        name: tensor
        for name, tensor in authors_weights.items()
        if not name.startswith('backbone.')
    } | {
        'backbone.patch_embed.proj.weight': torch.rand(8, 3, 4, 4),
        f'{guide}attn.qkv.weight': torch.rand(6, 2),
        f'{guide}mlp.fc1.bias': torch.rand(8),
        'backbone.norm2.weight': torch.rand(4),
        'backbone.layers.3.blocks.0.norm1.bias': torch.rand(4),
        'backbone.norm3.weight': torch.rand(4),
    }
    layout = recognise(weights)
    assert layout.name == 'cat_seg_v1_authors'
    converted = layout.convert(weights)
    assert not converted.unused
    guidance = {n for n in converted.state_dict if '.guidance.' in n}
    assert guidance == {
        'backbone.guidance.patch_embed.projection.weight',
        'backbone.guidance.stages.2.blocks.17.attn.w_msa.qkv.weight',
        'backbone.guidance.stages.2.blocks.17.ffn.layers.0.0.bias',
        'backbone.guidance.norm2.weight',
    }
    assert 'backbone.norm3.weight' in converted.dropped


def test_the_versions_are_told_apart(parts):
    config, weights = parts
    assert recognise(weights).method == 'CAT-Seg v1'
    model = MODELS.build(config.model)
    assert LAYOUTS.find(model.state_dict()) is None


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
