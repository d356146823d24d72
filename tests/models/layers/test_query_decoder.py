# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models import MaskedAttentionDecoder, MaskFormerDecoder
from ovseg_mm.models.layers import DETRDecoderLayer, mlp


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return MaskFormerDecoder(
        in_channels=12,
        num_queries=5,
        embed_dims=16,
        num_heads=4,
        num_layers=3,
        feedforward_dims=20,
        dropout=0.0,
    )


def test_evaluation_gives_the_last_state_of_training(decoder):
    maps = [torch.randn(2, 12, 4, 6)]
    states = decoder.train()(maps, None)
    assert states.shape == (3, 2, 5, 16)
    last = decoder.eval()(maps, None)
    assert last.shape == (1, 2, 5, 16)
    torch.testing.assert_close(last[0], states[-1])


def test_layer_is_torchs_decoder_layer():
    """Without positions it is torch's own post-norm layer."""
    torch.manual_seed(0)
    ours = DETRDecoderLayer(16, 4, 20).eval()
    theirs = torch.nn.TransformerDecoderLayer(
        16, 4, 20, dropout=0.0, batch_first=True
    ).eval()
    weights = {
        name.replace('cross_attn', 'multihead_attn')
        .replace('mlp.0', 'linear1')
        .replace('mlp.3', 'linear2'): tensor
        for name, tensor in ours.state_dict().items()
    }
    theirs.load_state_dict(weights)
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 9, 16)
    actual = ours(x, torch.zeros_like(x), memory, memory)
    torch.testing.assert_close(actual, theirs(x, memory), rtol=1e-5, atol=1e-5)


def test_positions_matter(decoder):
    x = torch.randn(1, 12, 4, 6)
    states = decoder.eval()([x], None)
    mirrored = decoder([x.flip(3)], None)
    assert not torch.allclose(states, mirrored, atol=1e-3)


def test_images_do_not_mix(decoder):
    maps = torch.randn(3, 12, 4, 6)
    together = decoder.eval()([maps], None)
    for index in range(3):
        alone = decoder([maps[index : index + 1]], None)
        torch.testing.assert_close(
            together[:, index], alone[:, 0], rtol=1e-4, atol=1e-5
        )


def test_mlp_ends_without_relu():
    layers = mlp((4, 8, 8, 2))
    assert [type(layer).__name__ for layer in layers] == [
        *('Linear', 'ReLU', 'Linear', 'ReLU', 'Linear')
    ]


@pytest.fixture
def masked():
    torch.manual_seed(0)
    return MaskedAttentionDecoder(
        num_queries=5,
        embed_dims=16,
        num_heads=4,
        num_layers=4,
        num_levels=2,
        feedforward_dims=20,
    )


@pytest.fixture
def two_maps():
    return [torch.randn(2, 16, 2, 3), torch.randn(2, 16, 4, 6)]


def everywhere(states, size):
    return torch.ones(*states.shape[:2], *size)


def test_states_of_a_masked_decoder(masked, two_maps):
    states = masked.train()(two_maps, everywhere)
    assert states.shape == (5, 2, 5, 16)
    last = masked.eval()(two_maps, everywhere)
    assert last.shape == (1, 2, 5, 16)
    torch.testing.assert_close(last[0], states[-1])
    start = masked.norm(masked.query_feat.weight).expand(2, -1, -1)
    torch.testing.assert_close(states[0], start)
    masked.skip_penultimate = True
    fewer = masked.train()(two_maps, everywhere)
    torch.testing.assert_close(fewer, states[[0, 1, 2, 4]])


def test_levels_come_in_turn(masked, two_maps):
    sizes = []

    def masks_of(states, size):
        sizes.append(size)
        return everywhere(states, size)

    masked(two_maps, masks_of)
    assert sizes == [(2, 3), (4, 6), (2, 3), (4, 6)]


def test_what_is_outside_of_a_mask_has_no_influence(masked, two_maps):
    def left(states, size):
        masks = -torch.ones(*states.shape[:2], *size)
        masks[..., : size[1] // 3] = 0.0  # just inside
        return masks

    states = masked.eval()(two_maps, left)
    changed = [x.clone() for x in two_maps]
    for x in changed:
        x[..., x.shape[3] // 3 :] += 3.0
    torch.testing.assert_close(masked(changed, left), states)
    assert not torch.allclose(masked(changed, everywhere), states, atol=1e-3)


def test_an_empty_mask_attends_everywhere(masked, two_maps):
    def nowhere(states, size):
        masks = everywhere(states, size)
        masks[:, 1] = -1.0
        return masks

    torch.testing.assert_close(
        masked.eval()(two_maps, nowhere), masked(two_maps, everywhere)
    )


def test_masks_that_guide_attention_get_no_gradient(masked, two_maps):
    def masks_of(states, size):
        assert not torch.is_grad_enabled()
        return everywhere(states, size)

    masked.train()(two_maps, masks_of).sum().backward()
    assert masked.query_embed.weight.grad is not None
