# SPDX-License-Identifier: Apache-2.0
"""ResNets of others, and ZSSeg's files, under our names."""

import pickle

import numpy as np
import pytest
import torch
import torchvision
from mmseg.models import ResNet, ResNetV1c

from ovseg_mm.checkpoints import convert, read_weights, recognise

NORM = ('weight', 'bias', 'running_mean', 'running_var')


def detectron2_resnet(depth_blocks, stem):
    """Names and shapes of a bottleneck ResNet in detectron2."""
    shapes = {f'{conv}.weight': shape for conv, shape in stem.items()}
    inputs = list(stem.values())[-1][0]
    for stage, blocks in enumerate(depth_blocks):
        width, outputs = 8 * 2**stage, 32 * 2**stage
        for block in range(blocks):
            prefix = f'res{stage + 2}.{block}.'
            convs = {
                'conv1': (width, inputs, 1, 1),
                'conv2': (width, width, 3, 3),
                'conv3': (outputs, width, 1, 1),
            }
            if block == 0:
                convs['shortcut'] = (outputs, inputs, 1, 1)
            for conv, shape in convs.items():
                shapes[f'{prefix}{conv}.weight'] = shape
            inputs = outputs
    for name, shape in list(shapes.items()):
        conv = name.removesuffix('.weight')
        shapes.update({f'{conv}.norm.{part}': shape[:1] for part in NORM})
    rng = np.random.default_rng(0)
    return {
        name: rng.random(shape, dtype=np.float32)
        for name, shape in shapes.items()
    }


def check_against(model, tensors):
    expected = {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if 'num_batches' not in name
    }
    assert {n: tuple(t.shape) for n, t in tensors.items()} == expected


@pytest.mark.parametrize('deep', [False, True])
def test_detectron2_backbone_as_a_plain_pickle(tmp_path, deep):
    stem = {'stem.conv1': (8, 3, 7, 7)}
    model = ResNet(50, base_channels=8, stem_channels=8)
    if deep:
        stem = {
            'stem.conv1': (8, 3, 3, 3),
            'stem.conv2': (8, 8, 3, 3),
            'stem.conv3': (16, 8, 3, 3),
        }
        model = ResNetV1c(depth=50, base_channels=8, stem_channels=16)
    weights = detectron2_resnet((3, 4, 6, 3), stem)
    content = dict(
        model={**weights, 'stem.fc.weight': np.ones((5, 8), np.float32)},
        matching_heuristics=True,
    )
    source, ours = tmp_path / 'R.pkl', tmp_path / 'ours.pth'
    source.write_bytes(pickle.dumps(content, protocol=2))
    report = convert(source, ours)
    assert report.method == 'ResNet' and report.unused == ()
    assert report.dropped == {'stem.fc.weight': 'the classifier of ImageNet'}
    tensors = read_weights(ours).tensors
    check_against(model, tensors)
    assert np.array_equal(
        tensors['layer3.0.downsample.1.running_var'],
        weights['res4.0.shortcut.norm.running_var'],
    )


def test_torchvision_backbone(tmp_path):
    weights = torchvision.models.resnet50().state_dict()
    source, ours = tmp_path / 'resnet50.pth', tmp_path / 'ours.pth'
    torch.save(weights, source)
    report = convert(source, ours)
    assert set(report.dropped) == {'fc.weight', 'fc.bias'}
    tensors = read_weights(ours).tensors
    tensors = {n: t for n, t in tensors.items() if 'num_batches' not in n}
    check_against(ResNet(50), tensors)


def test_pickles_that_hold_more_than_weights(tmp_path):
    path = tmp_path / 'evil.pkl'
    path.write_bytes(pickle.dumps({'model': print}))
    with pytest.raises(ValueError, match='builtins.print'):
        read_weights(path)


NAMES = [
    'clip_adapter.non_object_embedding',
    'sem_seg_head.predictor.transformer.decoder.layers.0.norm3.weight',
    'sem_seg_head.predictor.class_embed.layers.1.bias',
    'sem_seg_head.pixel_decoder.adapter_1.norm.weight',
    'sem_seg_head.pixel_decoder.layer_4.weight',
    'backbone.stem.conv1.weight',
    'backbone.res5.2.conv3.norm.running_mean',
    'clip_adapter.clip_model.visual.proj',
    'clip_adapter.prompt_learner.prefix_prompt',
    'clip_adapter.prompt_learner.dot_signal',
]


def renamed(names):
    layout = recognise(names)
    tensors = {name: torch.ones(2, 2) for name in names}
    return layout, layout.convert(tensors)


def test_a_segmenter():
    layout, result = renamed(NAMES)
    assert layout.name == 'zsseg'
    assert list(result.state_dict) == [
        'decode_head.no_object_embedding',
        'decode_head.proposals.decoder.layers.0.norm3.weight',
        'decode_head.proposals.class_embed.2.bias',
        'neck.laterals.0.gn.weight',
        'neck.outputs.3.conv.weight',
        'backbone.conv1.weight',
        'backbone.layer4.2.bn3.running_mean',
        'region_encoder.clip.proj',
        'text_encoder.prefix_prompt',
    ]
    assert result.unused == []


def test_a_segmenter_with_a_deep_stem_and_a_text_side_for_regions():
    layout, result = renamed(
        [
            *NAMES,
            'backbone.stem.conv3.weight',
            '_region_clip_adapter.clip_model.visual.proj',
            '_region_clip_adapter.clip_model.ln_final.bias',
            '_region_clip_adapter.prompt_learner.prefix_prompt',
            '_region_clip_adapter.non_object_embedding',
        ]
    )
    assert layout.name == 'zsseg_r101c_separate'
    assert {
        'backbone.stem.0.weight',
        'backbone.stem.6.weight',
        'region_encoder.clip.proj',
        'region_text_encoder.ln_final.bias',
        'region_text_encoder.prefix_prompt',
    } <= set(result.state_dict)
    assert 'clip_adapter.clip_model.visual.proj' in result.dropped


def test_prompts_of_the_first_stage():
    layout, result = renamed(
        [
            'clip_adapter.clip_model.visual.conv1.weight',
            'clip_adapter.clip_model.token_embedding.weight',
            'clip_adapter.prompt_learner.prefix_prompt',
        ]
    )
    assert layout.name == 'zsseg_prompts'
    assert list(result.state_dict) == [
        'image_encoder.conv1.weight',
        'text_encoder.token_embedding.weight',
        'text_encoder.prefix_prompt',
    ]
