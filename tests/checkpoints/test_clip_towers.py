# SPDX-License-Identifier: Apache-2.0
"""Every kind of weight file gives towers that compute what open_clip's do."""

import json

import open_clip
import pytest
import torch
from mmseg.registry import MODELS
from safetensors.torch import save_file

from ovseg_mm.checkpoints import convert
from ovseg_mm.models import clip_towers

from .conftest import ARCH

KINDS = ['openai', 'pt', 'bin', 'safetensors', 'huggingface', 'own']


def build(**clip):
    return MODELS.build(
        dict(
            type='OpenVocabSegmentor',
            clip=dict(arch=ARCH, **clip),
            vocabulary=['cat', 'sky'],
            backbone=dict(type='CLIPViT'),
            text_encoder=dict(type='CLIPTextTransformer'),
            decode_head=dict(
                type='CATSegCostHead',
                text_channels=16,
                appearance_channels=16,
                init_bias=-3.0,
            ),
        )
    )


@pytest.fixture
def weight_file(request, tmp_path, kind, open_clip_weights):
    path = tmp_path / f'clip.{kind}'
    if kind == 'openai':
        return request.getfixturevalue('openai_archive')
    if kind == 'huggingface':
        weights = request.getfixturevalue('huggingface_weights')
        save_file(weights, tmp_path / 'model.safetensors')
        (tmp_path / 'config.json').write_text(json.dumps({}))
        return tmp_path
    if kind == 'own':
        torch.save(open_clip_weights, tmp_path / 'clip.pt')
        convert(tmp_path / 'clip.pt', path)
    elif kind == 'safetensors':
        save_file(open_clip_weights, path)
    elif kind == 'bin':
        torch.save(open_clip_weights, path)
    else:  # as open_clip's training writes them
        wrapped = {f'module.{k}': v for k, v in open_clip_weights.items()}
        torch.save(dict(epoch=3, state_dict=wrapped), path)
    return path


@pytest.mark.parametrize('kind', KINDS)
def test_segmentor_has_the_towers_of_the_file(
    kind, weight_file, open_clip_weights
):
    theirs = open_clip.CLIP(
        ARCH['embed_dim'],
        open_clip.CLIPVisionCfg(**ARCH['vision_cfg']),
        open_clip.CLIPTextCfg(**ARCH['text_cfg']),
        quick_gelu=True,
    ).eval()
    theirs.load_state_dict(open_clip_weights)
    ours = build(custom_clip_weights=str(weight_file)).eval()
    ours.init_weights()
    img = torch.randn(2, 3, 32, 32)
    tokens = torch.tensor([[3, 7, 49, 0, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        for actual, expected in (
            (ours.backbone(img).cls, theirs.encode_image(img)),
            (ours.text_encoder(tokens), theirs.encode_text(tokens)),
        ):
            error = (actual - expected).norm() / expected.norm()
            assert error < 1e-5


def test_without_weights_the_towers_stay_random():
    torch.manual_seed(0)
    model = build()
    before = {n: p.clone() for n, p in model.named_parameters()}
    model.init_weights()
    for name, parameter in model.named_parameters():
        if name == 'decode_head.head.bias':
            assert parameter.item() == -3.0
        else:
            assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize('kind', ['safetensors'])
def test_towers_of_a_model_that_trains_nothing_are_read_once(
    weight_file, monkeypatch
):
    read = []
    real = clip_towers.load_clip_weights
    monkeypatch.setattr(
        clip_towers,
        'load_clip_weights',
        lambda *args: read.append(args) or real(*args),
    )
    model = MODELS.build(
        dict(
            type='OpenVocabSegmentor',
            clip=dict(arch=ARCH, custom_clip_weights=str(weight_file)),
            vocabulary=['cat', 'dog'],
            backbone=dict(type='CLIPViT'),
            text_encoder=dict(type='CLIPTextTransformer'),
            decode_head=dict(type='CosineHead'),
        )
    )
    before = {name: p.clone() for name, p in model.named_parameters()}
    model.init_weights()
    assert len(read) == 1
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
