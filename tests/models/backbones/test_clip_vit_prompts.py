# SPDX-License-Identifier: Apache-2.0
"""Options that visual prompt tuning needs."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models import CLIPViT


@pytest.fixture
def build(tiny_arch):
    def build(finetune='none', double_class_embedding=False, **prompts):
        torch.manual_seed(1)
        return CLIPViT(
            tiny_arch,
            out_indices=(0, 2),
            double_class_embedding=double_class_embedding,
            prompts=dict(depth=3, length=4, **prompts),
            finetune=finetune,
        ).eval()

    return build


@pytest.mark.parametrize(('stay', 'prompts'), [(True, 4), (False, 0)])
def test_prompts_in_the_blocks_that_follow(tiny_arch, stay, prompts):
    torch.manual_seed(0)
    options = dict(depth=1, length=4, stay=stay)
    model = CLIPViT(tiny_arch, prompts=options).eval()
    tokens = []
    for block in model.transformer.resblocks:
        block.register_forward_hook(
            lambda _module, inputs, _output: tokens.append(inputs[0])
        )
    before = model.transformer.resblocks[0]
    with torch.no_grad():
        model(torch.randn(2, 3, 32, 32))
        first, *rest = tokens
        patches = first.shape[1] - 1 - 4
        assert rest
        for x in rest:
            assert x.shape[1] == 1 + prompts + patches
        # The class token and the patches go on as they are.
        after = before(first)
    torch.testing.assert_close(rest[0][:, 0], after[:, 0])
    patches = slice(1, 1 + patches)
    torch.testing.assert_close(rest[0][:, patches], after[:, patches])


@pytest.mark.parametrize('depth', [1, 2, 3])
@pytest.mark.parametrize('stay', [True, False])
@pytest.mark.parametrize('last_block', ['attention', 'value', 'value_cls'])
def test_equals_all_tokens_in_every_block(tiny_arch, depth, stay, last_block):
    torch.manual_seed(0)
    model = CLIPViT(
        tiny_arch,
        last_block=last_block,
        out_indices=(0, 1),
        prompts=dict(depth=depth, length=4, stay=stay),
    ).eval()
    blocks, layers = model.transformer.resblocks, []
    with torch.no_grad():
        img = torch.randn(2, 3, 32, 40)
        x, grid = model._embed(img)
        patches = grid[0] * grid[1]
        for index, block in enumerate(blocks):
            if index < depth:
                prompts = model.prompt_tokens[index].expand(2, -1, -1)
                x = torch.cat([x[:, :1], prompts, x[:, -patches:]], dim=1)
            elif not stay:
                x = torch.cat([x[:, :1], x[:, -patches:]], dim=1)
            if index + 1 < len(blocks) or last_block == 'attention':
                x = block(x)
            else:
                own = last_block == 'value'
                x = block(x, value_residual=x if own else x[:, :1])
            layers.append(torch.cat([x[:, :1], x[:, -patches:]], dim=1))
        expected = model.ln_post(layers[-1]) @ model.proj
        found = model(img)
    close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)
    close(found.cls, expected[:, 0])
    close(found.dense.flatten(2), expected[:, 1:].transpose(1, 2))
    for tokens, layer in zip(found.layers, layers):
        close(tokens, layer)


def test_projected_prompts(build):
    plain, projected = build(), build(projection=True)
    plain.load_state_dict(projected.state_dict(), strict=False)
    with torch.no_grad():
        plain.prompt_tokens.copy_(
            projected.prompt_proj(projected.prompt_tokens)
        )
        img = torch.randn(2, 3, 32, 48)
        for ours, theirs in zip(projected(img)[:2], plain(img)[:2]):
            torch.testing.assert_close(ours, theirs)


def test_norm_of_output_and_layers(build):
    plain, normed = build(), build(norm=True)
    normed.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.normal_(normed.prompt_norm.weight)
    torch.nn.init.normal_(normed.prompt_norm.bias)
    with torch.no_grad():
        img = torch.randn(2, 3, 32, 32)
        before, after = plain(img), normed(img)
        for tokens, expected in zip(before.layers, after.layers):
            expected_tokens = F.layer_norm(
                tokens,
                tokens.shape[-1:],
                normed.prompt_norm.weight,
                normed.prompt_norm.bias,
                1e-6,
            )
            torch.testing.assert_close(expected, expected_tokens)
        # The last tapped block is the output.
        out = normed.ln_post(after.layers[1]) @ normed.proj
        torch.testing.assert_close(after.cls, out[:, 0])
        torch.testing.assert_close(
            after.dense.flatten(2).transpose(1, 2), out[:, 1:]
        )


def test_dropout_of_prompts_has_a_mask_of_its_own_for_each_image(build):
    model = build(dropout=0.5)
    img = torch.randn(1, 3, 32, 32).expand(2, -1, -1, -1)
    with torch.no_grad():
        first, second = model(img).cls
        torch.testing.assert_close(first, second)
        first, second = model.train()(img).cls
    assert (first - second).abs().max() > 1e-3


def test_class_embedding_twice(build):
    plain, doubled = build(), build(double_class_embedding=True)
    doubled.load_state_dict(plain.state_dict())
    img = torch.randn(1, 3, 40, 32)
    with torch.no_grad():
        assert (plain(img).cls - doubled(img).cls).abs().max() > 1e-3
        plain.class_embedding.mul_(2)
        torch.testing.assert_close(plain(img).cls, doubled(img).cls)


def test_position_embedding_of_another_size(tiny_arch):
    model = CLIPViT(tiny_arch, pos_image_size=48, pos_interpolation='bilinear')
    assert model.positional_embedding.shape == (1 + 6 * 6, 32)
    given = torch.randn(1 + 4 * 4, 32)
    fitted = model.fit_position(given)
    torch.testing.assert_close(fitted[0], given[0])
    grid = given[1:].view(4, 4, 32)
    # Corners lie outside the outer samples and repeat them; inner rows mix.
    torch.testing.assert_close(fitted[1], grid[0, 0])
    # The second of six samples lies at (1.5 * 4 / 6) - 0.5 = 0.5.
    torch.testing.assert_close(fitted[2], (grid[0, 0] + grid[0, 1]) / 2)
    same = torch.randn(1 + 6 * 6, 32)
    assert model.fit_position(same) is same


def test_only_prompts_are_trained(build):
    model = build(projection=True, norm=True, finetune='prompt')
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {
        'prompt_tokens',
        'prompt_proj.weight',
        'prompt_proj.bias',
        'prompt_norm.weight',
        'prompt_norm.bias',
    }


@pytest.mark.parametrize('init', ['patches', 'xavier'])
def test_range_of_initial_prompts(tiny_arch, init):
    tower = CLIPViT(tiny_arch, prompts=dict(depth=3, length=40, init=init))
    width = tower.prompt_tokens.shape[-1]
    fans = {
        'patches': 3 * tower.patch_size**2 + width,
        'xavier': (3 + 40) * width,
    }
    bound = (6 / fans[init]) ** 0.5
    assert 0.95 * bound < tower.prompt_tokens.abs().max() <= bound
