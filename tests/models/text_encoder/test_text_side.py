# SPDX-License-Identifier: Apache-2.0
from copy import deepcopy

import torch

from ovseg_mm.models.text_encoder import TextSide
from ovseg_mm.vocabulary import load_vocabulary

from ..methods import build_method


def test_a_model_shows_its_tower_and_bank():
    model = build_method('cat_seg')
    assert model.text_side == (model.text_encoder, model.text_bank)
    assert model.text_sides == [model.text_side]
    assert not any('text_side' in name for name in model.state_dict())
    twin = deepcopy(model)
    assert twin.text_side.encoder is twin.text_encoder
    model.text_encoder = twin.text_encoder  # as sharding does
    assert model.text_side.encoder is twin.text_encoder


def test_embeddings_come_from_both():
    model = build_method('cat_seg')
    side = TextSide(model.text_encoder, model.text_bank)
    device = torch.device('cpu')
    text = side.embeddings(model.vocabulary, device)
    assert torch.equal(text, model.text_embeddings(model.vocabulary))
    assert side.embeddings(model.vocabulary, torch.device('meta')).is_meta


def test_given_embeddings_last_until_they_are_cleared():
    model = build_method('cat_seg')
    words, device = load_vocabulary(['a boat', 'water']), torch.device('cpu')
    own = model.text_side.embeddings(words, device)
    given = torch.zeros_like(own)
    model.text_side.fill(words, given)
    assert model.text_side.embeddings(words, device) is given
    model.text_side.clear()
    assert torch.equal(model.text_side.embeddings(words, device), own)


def test_training_forgets_the_embeddings_of_all_sides():
    model = build_method('cat_seg')
    model.prepare_text()
    assert model.text_bank._memory
    model.train()
    assert not model.text_bank._memory
