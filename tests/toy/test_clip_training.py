# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file

from ovseg_mm.checkpoints import load_clip_weights
from ovseg_mm.toy import clip_training as toy_clip
from ovseg_mm.toy.clip_training import (
    ToyCLIP,
    caption_loss,
    token_loss,
    train_toy_clip,
    zero_shot_metrics,
)
from ovseg_mm.utils.paths import resource

needs_muon = pytest.mark.skipif(
    not hasattr(torch.optim, 'Muon'), reason='torch before 2.9 has no Muon'
)


@pytest.fixture(scope='module')
def clip_cfg():
    base = resource('configs', '_base_', 'models', 'toy-clip.py')
    return Config.fromfile(base).toy_clip


@pytest.fixture(scope='module')
def arch(clip_cfg):
    return clip_cfg.arch.to_dict()


@pytest.mark.slow
@needs_muon
def test_training_learns_from_captions(arch):
    model, losses = train_toy_clip(arch, 60)
    assert len(losses) == 60
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])
    # Grounds and colours come first. Chance is about 3 and 1.
    metrics = zero_shot_metrics(model, number=6)
    assert metrics['aAcc'] > 30
    assert metrics['mIoU'] > 4


@needs_muon
def test_weights_load_by_the_door_of_any_clip(arch, tmp_path):
    model, _ = train_toy_clip(arch, 1)
    path = tmp_path / 'clip.safetensors'
    save_file(model.weights(), path)
    assert path.stat().st_size < 2e6
    loaded = load_clip_weights(arch, custom_clip_weights=path)
    towers = {f'visual.{k}': v for k, v in model.image.state_dict().items()}
    towers.update(model.text.state_dict())
    assert loaded.keys() == towers.keys()
    for name, tensor in towers.items():
        torch.testing.assert_close(
            loaded[name], tensor, rtol=1e-3, atol=1e-6, msg=name
        )


def test_shipped_file_is_found_from_any_folder_and_knows_the_words(
    clip_cfg, arch, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert resource(clip_cfg.custom_clip_weights).stat().st_size < 2e6
    weights = load_clip_weights(
        arch, custom_clip_weights=clip_cfg.custom_clip_weights
    )
    model = ToyCLIP(arch)
    image = {
        name.removeprefix('visual.'): weights.pop(name)
        for name in list(weights)
        if name.startswith('visual.')
    }
    model.image.load_state_dict(image)
    model.text.load_state_dict(weights)
    metrics = zero_shot_metrics(model.eval(), number=8)
    assert metrics['mIoU_seen'] > 70
    assert metrics['mIoU_unseen'] > 60


def test_without_muon_one_sentence(arch, monkeypatch):
    monkeypatch.delattr(torch.optim, 'Muon', raising=False)
    with pytest.raises(ImportError, match='torch 2.9'):
        train_toy_clip(arch, 1)


def test_caption_belongs_to_pictures_of_which_it_is_true():
    facts = torch.tensor([[True, True, False], [False, True, False]])
    stated = torch.tensor([[True, True, False], [False, True, False]])
    # The first caption is true of the first picture, the second of both.
    right = torch.tensor([[9.0, -9.0], [9.0, 9.0]])
    assert caption_loss(right, stated, facts) < 1e-2
    for index in range(4):
        wrong = right.clone()
        wrong.view(-1)[index] *= -1
        assert caption_loss(wrong, stated, facts) > 4


def test_tokens_show_what_is_in_the_picture_and_all_of_it():
    facts = torch.tensor([[True, True, False]])
    half = 2 * toy_clip.TOKENS_OF_A_FACT
    scores = torch.zeros(1, 3, 2 * half)
    scores[:, 0, :half] = scores[:, 1, half:] = 20
    assert token_loss(scores, facts) < 1e-3
    assert token_loss(scores.roll(1, 1), facts) > 5
    # The second fact is nowhere, which costs half of -log of the floor.
    scores = torch.zeros(1, 3, 2 * half)
    scores[:, 0] = 20
    expected = torch.tensor(-math.log(1e-6) / 2)
    torch.testing.assert_close(
        token_loss(scores, facts), expected, rtol=1e-3, atol=0
    )
