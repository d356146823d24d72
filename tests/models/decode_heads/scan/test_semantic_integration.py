# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from ovseg_mm.models.decode_heads import SemanticIntegration
from ovseg_mm.models.decode_heads.scan.semantic_integration import (
    FrequencyFilter,
    LoneTokenLayer,
    _notch,
)
from ovseg_mm.structures import ImageContext


@pytest.fixture
def module():
    torch.manual_seed(0)
    return SemanticIntegration(
        in_channels=12,
        embed_dims=16,
        blocks=(1, 3),
        sigmas=(2, 1),
        num_heads=4,
        num_fusion_layers=2,
        num_encoder_layers=2,
        feedforward_dims=20,
    ).eval()


@pytest.fixture
def context():
    torch.manual_seed(1)
    tokens = {block: torch.randn(2, 26, 12) for block in (0, 1, 3)}
    return ImageContext(torch.randn(2, 16), tokens)


def test_states_images_and_queries_do_not_mix(module, context):
    embeddings = torch.randn(3, 2, 6, 16)
    together = module(embeddings, context)
    assert together.shape == embeddings.shape
    one = ImageContext(
        context.embedding[1:], {b: x[1:] for b, x in context.tokens.items()}
    )
    alone = module(embeddings[2:, 1:, 4:5], one)
    torch.testing.assert_close(
        alone[0, 0, 0], together[2, 1, 4], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize('what', ['embedding', 'tokens'])
def test_both_parts_of_the_context_matter(module, context, what):
    embeddings = torch.randn(1, 2, 6, 16)
    before = module(embeddings, context)
    if what == 'embedding':
        context = context._replace(embedding=-context.embedding)
    else:
        context.tokens[3][:, 1:] *= -1
    assert not torch.allclose(module(embeddings, context), before, atol=1e-4)


def test_blocks_that_are_not_used(module, context):
    embeddings = torch.randn(1, 2, 6, 16)
    before = module(embeddings, context)
    context.tokens[0].zero_()
    context.tokens[1][:, 0] = 9.0  # class tokens are no part of the memory
    assert torch.equal(module(embeddings, context), before)


def test_notch_is_on_the_highest_frequencies():
    notch = _notch(16, 9, 'cpu')
    assert notch[8, 8] == 0
    assert notch[0, 0] == pytest.approx(0.546, abs=1e-3)
    assert _notch(16, 7, 'cpu')[0, 0] == pytest.approx(0.729, abs=1e-3)
    assert _notch(16, 3, 'cpu')[0, 0] == pytest.approx(0.999, abs=1e-3)


def test_filter_with_convolutions_that_do_nothing():
    """Then the notch alone is left: checkered tokens stay, constants double.

    The rectifier is undone by splitting a signal into its two signs.
    """
    layer = FrequencyFilter(1)
    with torch.no_grad():
        layer.conv1.weight.copy_(
            torch.tensor([[1.0, 0], [-1, 0]])[..., None, None]
        )
        layer.conv2.weight.copy_(
            torch.tensor([[1.0, -1], [0, 0]])[..., None, None]
        )
        layer.conv1.bias.zero_()
        layer.conv2.bias.zero_()
    rows = torch.arange(4)
    checkered = ((rows[:, None] + rows) % 2 * 2.0 - 1).view(1, 16, 1)
    torch.testing.assert_close(layer(checkered, 1), checkered)
    constant = torch.full((1, 16, 1), 3.0)
    gain = 1 - torch.exp(torch.tensor(-4.0))
    torch.testing.assert_close(layer(constant, 1), constant * (1 + gain))


def in_torch_names(layer):
    return {
        name.replace('mlp.0', 'linear1')
        .replace('mlp.3', 'linear2')
        .replace('out_proj', 'self_attn.out_proj'): tensor
        for name, tensor in layer.state_dict().items()
    }


def test_attention_over_one_token_is_its_value():
    """Equal to torch's layer on sequences of length one."""
    torch.manual_seed(0)
    ours = LoneTokenLayer(16, 4, 20).eval()
    theirs = nn.TransformerEncoderLayer(16, 4, 20, batch_first=True).eval()
    weights = in_torch_names(ours)
    for kind in ('weight', 'bias'):
        value = weights.pop(f'value.{kind}')
        weights[f'self_attn.in_proj_{kind}'] = torch.cat(
            [torch.randn(32, *value.shape[1:]), value]
        )
    theirs.load_state_dict(weights)
    x = torch.randn(7, 1, 16)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_layers_start_as_those_of_a_transformer_encoder():
    """Bounds and spread of every tensor; all layers are copies of one."""
    torch.manual_seed(0)
    encoder = SemanticIntegration(
        in_channels=8, embed_dims=256, feedforward_dims=1024
    ).encoder
    assert len(encoder) == 5
    for layer in encoder[1:]:
        for name, tensor in layer.state_dict().items():
            assert torch.equal(tensor, encoder[0].state_dict()[name]), name
    assert encoder[1].value.weight is not encoder[0].value.weight

    layer = nn.TransformerEncoderLayer(256, 8, 1024)
    theirs = layer.state_dict()
    for kind in ('weight', 'bias'):
        packed = theirs.pop(f'self_attn.in_proj_{kind}')
        theirs[f'value.{kind}'] = packed[512:]
    ours = in_torch_names(encoder[0])
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        found = ours[name]
        bound = float(expected.abs().max())
        assert float(found.abs().max()) == pytest.approx(bound, rel=0.03), name
        spread = float(expected.std())
        assert float(found.std()) == pytest.approx(spread, rel=0.1), name


def test_training_drops_whole_heads():
    torch.manual_seed(0)
    layer = LoneTokenLayer(16, 4, 20, dropout=0.5).train()
    layer.dropout = nn.Dropout(0.5)
    given = []
    layer.out_proj.register_forward_pre_hook(
        lambda _, args: given.append(args[0])
    )
    x = torch.randn(50, 16)
    layer(x)
    heads = given[0].unflatten(1, (4, 4))
    dropped = (heads == 0).all(dim=2)
    assert torch.equal(dropped, (heads == 0).any(dim=2))
    assert 0.3 < dropped.float().mean() < 0.7
    value = layer.value(x).unflatten(1, (4, 4))
    torch.testing.assert_close(heads[~dropped], 2 * value[~dropped])


def test_one_sigma_a_block():
    with pytest.raises(ValueError, match='has 3 blocks, but'):
        SemanticIntegration(sigmas=(1, 2))
