# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models import CascadeCLIPHead
from ovseg_mm.structures import LevelFeatures


@pytest.fixture
def head():
    head = CascadeCLIPHead(
        8, group_sizes=(2, 1), num_layers=3, num_heads=2, dropout=0.0
    )
    for parameter in head.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
    return head.eval()


def feats(batch=2, grid=(3, 5), levels=3):
    return LevelFeatures(
        tuple(
            F.normalize(torch.randn(batch, 8, *grid), dim=1)
            for _ in range(levels)
        ),
        F.normalize(torch.randn(batch, 8), dim=1),
    )


def naive_layer(layer, query, patches):
    """One query (E,) through a layer, head by head."""
    parts = []
    for part in (slice(0, 4), slice(4, 8)):
        q = layer.similarity.q(query)[part]
        k = layer.similarity.k(patches)[:, part]
        v = layer.v(patches)[:, part]
        parts.append((k @ q / math.sqrt(4)).softmax(dim=0) @ v)
    query = layer.attn_norm(query + layer.proj(torch.cat(parts)))
    first, _, _, second = layer.mlp
    return layer.mlp_norm(query + second(first(query).relu()))


def naive(head, feats, text):
    """Class by class, image by image, without any batching."""
    first, second, last = feats.levels
    weights = head.level_weights[0]
    groups = [weights[0] * first + weights[1] * second, last]
    out = torch.zeros(len(text), *last.shape[2:])
    for group, project, decoder in zip(
        groups, head.query_projections, head.decoders
    ):
        patches = group[0].flatten(1).t()
        for number, embedding in enumerate(text):
            query = project(torch.cat([feats.cls[0] * embedding, embedding]))
            for layer in decoder.layers:
                query = naive_layer(layer, query, patches)
            q, k = (
                decoder.similarity.q(query),
                decoder.similarity.k(patches),
            )
            logits = sum(
                k[:, part] @ q[part] / math.sqrt(4)
                for part in (slice(0, 4), slice(4, 8))
            )
            out[number] += (logits / 2).unflatten(0, last.shape[2:])
    return out


def test_logits(head):
    given, text = feats(batch=1), F.normalize(torch.randn(4, 1, 8), dim=-1)
    with torch.no_grad():
        torch.testing.assert_close(
            head(given, text)[0], naive(head, given, text[:, 0])
        )


def test_images_and_classes_do_not_see_each_other(head):
    given, text = feats(), torch.randn(5, 1, 8)
    with torch.no_grad():
        both = head(given, text)
        one = head(
            LevelFeatures(
                tuple(level[1:] for level in given.levels), given.cls[1:]
            ),
            text[2:3],
        )
    torch.testing.assert_close(both[1:, 2:3], one)


def test_initial_level_weights():
    head = CascadeCLIPHead(8, group_sizes=(3, 3, 1))
    for weights in head.level_weights:
        assert weights.tolist() == pytest.approx(
            [0.135335, 0.606531, 1.0], 1e-5
        )
    assert len(head.level_weights) == 2


def test_layers_of_a_decoder_start_equal_and_decoders_differ():
    first, second, _ = CascadeCLIPHead(8).decoders
    weights = [layer.similarity.q.weight for layer in first.layers]
    weights.append(first.similarity.q.weight)
    assert all(torch.equal(weights[0], other) for other in weights)
    assert not torch.equal(weights[0], second.similarity.q.weight)


def test_every_parameter_learns(head):
    labels = torch.randint(0, 4, (2, 12, 20))
    losses = head.loss(feats(), torch.randn(4, 1, 8), labels)
    assert losses.keys() == {'loss_mask', 'loss_dice', 'acc_seg'}
    (losses['loss_mask'] + losses['loss_dice']).backward()
    for name, parameter in head.named_parameters():
        if not name.endswith('k.bias'):  # a shift that a softmax takes out
            assert parameter.grad is not None and parameter.grad.any(), name


def test_unknown_pixels_get_the_best_unseen_class(head):
    given, text = feats(), torch.randn(5, 1, 8)
    labels = torch.randint(0, 5, (2, 12, 20))
    labels[labels == 3] = -1
    labels[labels == 1] = -1
    labels[0, 0] = 255
    logits = F.interpolate(head(given, text), (12, 20), mode='bilinear')
    best = torch.where(logits[:, 3] > logits[:, 1], 3, 1)
    guessed = torch.where(labels == -1, best, labels)
    assert {1, 3} <= set(guessed.unique().tolist())
    torch.testing.assert_close(
        head.loss(given, text, labels, unseen=(1, 3)),
        head.loss(given, text, guessed),
    )


def test_wrong_inputs(head):
    with pytest.raises(ValueError, match='average_templates=True'):
        head(feats(), torch.randn(4, 3, 8))
    with pytest.raises(ValueError, match='need 3 levels, but there are 2'):
        head(feats(levels=2), torch.randn(4, 1, 8))
    with pytest.raises(ValueError, match='not divisible by num_heads=3'):
        CascadeCLIPHead(8, num_heads=3)
