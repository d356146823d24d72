# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from ovseg_mm.analysis.flops import (
    _analyse,
    count_image,
    count_parameters,
    count_text,
    count_view,
    window_size,
)

from ..tiny import clip_arch

WORDS = ['cat', 'dog', 'blue sky']
WIDTH, TOKENS, EMBED = 32, 16 + 1, 24


@pytest.fixture
def model():
    init_default_scope('mmseg')
    arch = clip_arch(embed_dim=EMBED, width=WIDTH)
    return MODELS.build(
        dict(
            type='OpenVocabSegmentor',
            clip=dict(arch=arch, finetune='none'),
            prompts=dict(templates=['a {}', 'the {}'], average_templates=True),
            vocabulary=WORDS,
            backbone=dict(type='CLIPViT', out_indices=(0,)),
            text_encoder=dict(type='CLIPTextTransformer'),
            neck=dict(
                type='CLIPLevelProjection',
                in_channels=WIDTH,
                out_channels=EMBED,
                num_levels=1,
            ),
            decode_head=dict(
                type='CascadeCLIPHead',
                embed_dims=EMBED,
                group_sizes=(1, 1),
                num_layers=1,
                num_heads=2,
            ),
            test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(16, 16)),
        )
    )


def block_flops(width, tokens):
    """Linear layers and both products of attention of a block."""
    return tokens * 12 * width**2 + 2 * tokens**2 * width


def test_attention():
    class Attention(nn.Module):
        def forward(self, q, k, v):
            return F.scaled_dot_product_attention(q, k, v)

    q, k, v = (torch.randn(2, 4, n, d) for n, d in ((5, 8), (7, 8), (7, 6)))
    assert _analyse(Attention(), q, k, v).total() == 2 * 4 * 5 * 7 * (8 + 6)


def test_view_is_the_sum_of_its_products(model):
    count = count_view(model, (32, 32))
    products = 2 * block_flops(WIDTH, TOKENS) + TOKENS * WIDTH * EMBED
    products += 16 * WIDTH * 3 * 8 * 8  # patches
    # Norms are counted as well, a few operations an element.
    assert products < count.parts['backbone'] < 1.05 * products
    assert count.parts['neck'] >= 16 * WIDTH * EMBED
    decoders = 3 * EMBED**2 + 16 * EMBED**2 + 3 * 16 * EMBED
    queries = 3 * 2 * EMBED**2
    assert count.parts['decode_head'] == pytest.approx(
        2 * (decoders + queries), rel=0.02
    )
    assert sum(count.parts.values()) == pytest.approx(count.flops)
    assert 'aten::sigmoid' in count.unsupported or count.unsupported
    assert 'text_encoder' not in count.parts


def test_image_is_as_many_views_as_it_has_windows(model):
    view = count_view(model, (32, 32)).flops
    image = count_image(model, (48, 64)).flops  # 2 x 3 windows
    assert 6 * view <= image < 6.3 * view


def test_text_is_counted_apart(model):
    (count,) = count_text(model)
    assert count.prompts == 6
    assert count.tokens == 5  # start, the, blue, sky, end
    products = count.prompts * (block_flops(16, 5) + 16 * EMBED)
    assert products < count.flops < 1.1 * products


def test_parameters(model):
    counts = count_parameters(model)
    total, trained = counts['']
    assert total == sum(p.numel() for p in model.parameters())
    assert trained == counts['decode_head'][0]
    assert counts['backbone'][1] == counts['neck'][1] == 0


def test_window(model):
    assert window_size(model) == (32, 32)
    model.test_cfg['mode'] = 'whole'
    with pytest.raises(ValueError, match='--shape'):
        window_size(model)
