# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from ovseg_mm.models import MaskFormerDecoder
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
