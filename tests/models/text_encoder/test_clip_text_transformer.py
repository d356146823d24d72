# SPDX-License-Identifier: Apache-2.0
import open_clip
import pytest
import torch

from ovseg_mm.models import CLIPTextTransformer

FAMILIES = ['ViT-B-32', 'ViT-B-16', 'ViT-L-14', 'ViT-H-14', 'ViT-bigG-14']
END = 39


@pytest.fixture
def pair(tiny_arch, build_open_clip, split_in_proj):
    """Our text tower and open_clip's, with the same weights."""
    return make_pair(tiny_arch, build_open_clip, split_in_proj)


def make_pair(arch, build_open_clip, split_in_proj):
    theirs = build_open_clip(arch)
    weights = {
        name: tensor
        for name, tensor in theirs.state_dict().items()
        if not name.startswith(('visual.', 'logit_scale'))
    }
    ours = CLIPTextTransformer(arch)
    ours.load_state_dict(split_in_proj(weights))
    return ours.eval(), theirs


def random_tokens(lengths, context_length, end=END):
    """Ids of texts of these lengths, each closed by the end token."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.zeros(len(lengths), context_length, dtype=torch.long)
    for row, length in zip(tokens, lengths):
        ids = torch.randint(1, end, (length - 1,), generator=generator)
        row[: length - 1] = ids
        row[length - 1] = end
    return tokens


def relative_error(actual, expected):
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize('quick_gelu', [False, True])
@pytest.mark.parametrize('name', FAMILIES)
def test_embeddings_are_open_clips(
    name, quick_gelu, build_open_clip, split_in_proj
):
    arch = open_clip.get_model_config(name)
    arch['vision_cfg'] = dict(image_size=8, layers=1, width=64, patch_size=8)
    arch['text_cfg'].update(layers=2, vocab_size=END + 1)
    arch['quick_gelu'] = quick_gelu
    ours, theirs = make_pair(arch, build_open_clip, split_in_proj)
    tokens = random_tokens([3, 77], 77)
    with torch.no_grad():
        expected = theirs.encode_text(tokens)
        assert relative_error(ours(tokens), expected) < 1e-5


def test_cutting_after_the_longest_text_is_exact(pair):
    ours, theirs = pair
    tokens = random_tokens([3, 6, 2, 5], 10)
    with torch.no_grad():
        expected = theirs.encode_text(tokens)
        for length in (6, 7, 10):
            cut = ours(tokens[:, :length])
            assert relative_error(cut, expected) < 1e-6
        # One position fewer would lose an end token, and show.
        assert relative_error(ours(tokens[:, :5]), expected) > 1e-3


def test_what_follows_the_end_token_does_not_matter(pair):
    ours, _ = pair
    tokens = random_tokens([4, 7], 10)
    other = tokens.clone()
    other[0, 4:] = 17
    with torch.no_grad():
        torch.testing.assert_close(ours(other), ours(tokens))


@pytest.mark.parametrize(
    ('finetune', 'leaves'),
    [
        ('none', []),
        ('prompt', []),
        ('attention', ['attn.q_proj_weight', 'attn.v_proj_weight']),
        (['attn.v_proj_weight'], ['attn.v_proj_weight']),
    ],
)
def test_finetune_modes(tiny_arch, finetune, leaves):
    tower = CLIPTextTransformer(tiny_arch, finetune=finetune)
    trained = {n for n, p in tower.named_parameters() if p.requires_grad}
    assert trained == {
        f'transformer.resblocks.{index}.{leaf}'
        for index in range(2)
        for leaf in leaves
    }
    assert tower.trainable == bool(leaves)


def test_full_finetuning_trains_the_blocks(tiny_arch):
    tower = CLIPTextTransformer(tiny_arch, finetune='full')
    for name, parameter in tower.named_parameters():
        assert parameter.requires_grad == ('resblocks' in name), name


def test_gradients_are_those_of_the_chosen_parameters(tiny_arch):
    tower = CLIPTextTransformer(tiny_arch, finetune='attention')
    tower(random_tokens([3, 5], 10)).square().sum().backward()
    for name, parameter in tower.named_parameters():
        if 'q_proj' in name or 'v_proj' in name:
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name
