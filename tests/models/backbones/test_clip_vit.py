# SPDX-License-Identifier: Apache-2.0
import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from ovseg_mm.models import CLIPViT
from ovseg_mm.models.utils import chunks

FAMILIES = [
    'ViT-B-32',
    'ViT-B-16',
    'ViT-L-14',
    'ViT-L-14-336',
    'ViT-H-14',
    'ViT-bigG-14',
]


def relative_error(actual, expected):
    return float((actual - expected).norm() / expected.norm())


@pytest.fixture
def pair(tiny_arch, build_open_clip, split_in_proj):
    """Function from our options to (our tower, open_clip's visual)."""

    def build(**options):
        theirs = build_open_clip(tiny_arch).visual
        ours = CLIPViT(tiny_arch, **options)
        weights = split_in_proj(theirs.state_dict())
        missing, unexpected = ours.load_state_dict(weights, strict=False)
        assert set(missing) <= {'prompt_tokens'} and not unexpected
        return ours.eval(), theirs

    return build


def stream(visual, img):
    """open_clip's residual stream before the first block, (B, 1 + N, D)."""
    x = visual.conv1(img).flatten(2).transpose(1, 2)
    cls = visual.class_embedding.expand(len(x), 1, -1)
    x = torch.cat([cls, x], dim=1) + visual.positional_embedding
    return visual.ln_pre(x)


def run_block(block, x):
    """One of open_clip's blocks on (B, N, D), whichever axis it wants."""
    if getattr(block.attn, 'batch_first', False):
        return block(x)
    return block(x.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize('quick_gelu', [False, True])
@pytest.mark.parametrize('name', FAMILIES)
def test_embeddings_are_open_clips(
    name, quick_gelu, build_open_clip, split_in_proj
):
    arch = open_clip.get_model_config(name)
    arch['vision_cfg']['layers'] = 2
    arch['text_cfg'].update(layers=1, vocab_size=8, width=64, heads=1)
    arch['quick_gelu'] = quick_gelu
    theirs = build_open_clip(arch).visual
    theirs.output_tokens = True
    ours = CLIPViT(arch)
    ours.load_state_dict(split_in_proj(theirs.state_dict()))
    side = arch['vision_cfg']['image_size']
    img = torch.randn(1, 3, side, side)
    with torch.no_grad():
        cls, tokens = theirs(img)
        feats = ours(img)
    assert relative_error(feats.cls, cls) < 1e-5
    dense = feats.dense.flatten(2).transpose(1, 2)
    assert relative_error(dense, tokens @ theirs.proj) < 1e-5


def cubic(x, a=-0.75):
    """Keys' kernel with PyTorch's parameter."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def linear(x):
    return np.maximum(1 - np.abs(x), 0.0)


def resize_matrix(source, target, kernel):
    """(target, source) weights of a resize with half-pixel centres."""
    matrix = np.zeros((target, source))
    for row in range(target):
        centre = (row + 0.5) * source / target - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(centre // 1) + 3):
            column = min(max(tap, 0), source - 1)
            matrix[row, column] += kernel(centre - tap)
    return matrix


@pytest.mark.parametrize(
    ('mode', 'kernel'), [('bicubic', cubic), ('bilinear', linear)]
)
@pytest.mark.parametrize('size', [(24, 56), (64, 64), (40, 16), (53, 39)])
def test_other_sizes_resize_the_positions(pair, size, mode, kernel):
    ours, theirs = pair(pos_interpolation=mode)
    grid = [side // 8 for side in size]
    rows, cols = (resize_matrix(4, side, kernel) for side in grid)
    patches = theirs.positional_embedding[1:].view(4, 4, 32).double()
    patches = np.einsum('yr,xc,rcd->yxd', rows, cols, patches.numpy())
    patches = torch.from_numpy(patches).float().flatten(0, 1)
    cls = theirs.positional_embedding[:1]
    theirs.positional_embedding.data = torch.cat([cls, patches])
    theirs.output_tokens = True
    img = torch.randn(2, 3, *size)
    with torch.no_grad():
        cls, tokens = theirs(img)
        feats = ours(img)
    assert feats.dense.shape == (2, 24, *grid)
    assert relative_error(feats.cls, cls) < 1e-5
    dense = feats.dense.flatten(2).transpose(1, 2)
    assert relative_error(dense, tokens @ theirs.proj) < 1e-5


def test_input_size(pair):
    ours, _ = pair(input_size=(48, 32))
    img = torch.randn(1, 3, 70, 90)
    resized = F.interpolate(img, (48, 32), mode='bilinear')
    with torch.no_grad():
        assert ours(img).dense.shape == (1, 24, 6, 4)
        assert torch.equal(ours(img).cls, ours(resized).cls)


def test_out_indices_give_the_residual_stream_in_their_order(pair):
    ours, theirs = pair(out_indices=(2, 0))
    img = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        x = stream(theirs, img)
        outputs = []
        for block in theirs.transformer.resblocks:
            x = run_block(block, x)
            outputs.append(x)
        layers = ours(img).layers
    assert len(layers) == 2
    assert relative_error(layers[0], outputs[2]) < 1e-5
    assert relative_error(layers[1], outputs[0]) < 1e-5


def attend_to_oneself(block, x):
    """Multi-head attention in which no token sees another."""
    attn = torch.nn.MultiheadAttention(32, 2, batch_first=True)
    attn.load_state_dict(block.attn.state_dict())
    mask = torch.full((x.shape[1],) * 2, -torch.inf).fill_diagonal_(0.0)
    x = block.ln_1(x)
    return attn(x, x, x, attn_mask=mask, need_weights=False)[0]


@pytest.mark.parametrize('last_block', ['value', 'value_cls'])
def test_last_block_without_attention(pair, last_block):
    ours, theirs = pair(last_block=last_block)
    img = torch.randn(2, 3, 32, 32)
    *blocks, last = theirs.transformer.resblocks
    with torch.no_grad():
        x = stream(theirs, img)
        for block in blocks:
            x = run_block(block, x)
        residual = x if last_block == 'value' else x[:, :1]
        x = residual + attend_to_oneself(last, x)
        x = x + last.mlp(last.ln_2(x))
        expected = theirs.ln_post(x) @ theirs.proj
        feats = ours(img)
    dense = feats.dense.flatten(2).transpose(1, 2)
    assert relative_error(feats.cls, expected[:, 0]) < 1e-5
    assert relative_error(dense, expected[:, 1:]) < 1e-5


@pytest.mark.parametrize('depth', [1, 2, 3])
def test_prompts_are_replaced_and_those_of_the_last_stay(pair, depth):
    ours, theirs = pair(prompts=dict(depth=depth, length=2), out_indices=(1,))
    img = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        x = stream(theirs, img)
        x = torch.cat([x[:, :1], x[:, 1:3], x[:, 1:]], dim=1)
        for index, block in enumerate(theirs.transformer.resblocks):
            if index < depth:
                x[:, 1:3] = ours.prompt_tokens[index]
            x = run_block(block, x)
            if index == 1:
                layer = torch.cat([x[:, :1], x[:, 3:]], dim=1)
        expected = theirs.ln_post(x) @ theirs.proj
        feats = ours(img)
    assert relative_error(feats.cls, expected[:, 0]) < 1e-5
    dense = feats.dense.flatten(2).transpose(1, 2)
    assert relative_error(dense, expected[:, 3:]) < 1e-5
    assert relative_error(feats.layers[0], layer) < 1e-5


def blocks_of(tower, *leaves):
    return {
        f'transformer.resblocks.{index}.{leaf}'
        for index in range(len(tower.transformer.resblocks))
        for leaf in leaves
    }


def trained(tower):
    return {n for n, p in tower.named_parameters() if p.requires_grad}


def test_finetune_modes(tiny_arch):
    prompts = dict(prompts=dict(depth=2, length=2))
    none = CLIPViT(tiny_arch, **prompts)
    assert trained(none) == set()
    attention = CLIPViT(tiny_arch, finetune='attention', **prompts)
    assert trained(attention) == blocks_of(
        attention, 'attn.q_proj_weight', 'attn.v_proj_weight'
    )
    prompt = CLIPViT(tiny_arch, finetune='prompt', **prompts)
    assert trained(prompt) == {'prompt_tokens'}
    full = CLIPViT(tiny_arch, finetune='full', **prompts)
    in_blocks = {n for n, _ in full.named_parameters() if 'resblocks' in n}
    assert len(in_blocks) == 14 * 3
    assert trained(full) == in_blocks | {'prompt_tokens'}


@pytest.mark.parametrize(
    ('finetune', 'leaves'),
    [
        (['attn.q_proj_weight'], ['attn.q_proj_weight']),
        (['attn.v_proj_weight'], ['attn.v_proj_weight']),
        ('attention', ['attn.q_proj_weight', 'attn.v_proj_weight']),
        ('prompt', None),
    ],
)
def test_a_step_changes_the_chosen_parameters_alone(pair, finetune, leaves):
    ours, _ = pair(finetune=finetune, prompts=dict(depth=3, length=2))
    before = {n: p.detach().clone() for n, p in ours.named_parameters()}
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
    feats = ours.train()(torch.randn(2, 3, 32, 32))
    (feats.dense.square().mean() + feats.cls.square().mean()).backward()
    optimizer.step()
    changed = {
        name
        for name, parameter in ours.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert changed == (
        blocks_of(ours, *leaves) if leaves else {'prompt_tokens'}
    )


def test_q_k_and_v_do_their_own_part(pair):
    """Each of the three reaches the output, through attention as MHA's."""
    img = torch.randn(1, 3, 32, 32)
    for kind in ('q', 'k', 'v'):
        ours, theirs = pair()
        name = f'{kind}_proj_weight'
        attn = ours.transformer.resblocks[1].attn
        with torch.no_grad():
            plain = ours(img).cls
            getattr(attn, name).mul_(1.5)
            rows = slice(*('qkv'.index(kind) * 32 + i for i in (0, 32)))
            weight = theirs.transformer.resblocks[1].attn.in_proj_weight
            weight[rows] *= 1.5
            assert relative_error(ours(img).cls, theirs(img)) < 1e-5
            assert relative_error(ours(img).cls, plain) > 1e-4


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(last_block='dense'), "last_block='dense'"),
        (dict(out_indices=(0, 3)), r'out_indices=\(0, 3\).*\[0, 3\)'),
        (dict(out_indices=(-1,)), r'out_indices=\(-1,\)'),
        (dict(prompts=dict(depth=4, length=1)), 'prompts.depth=4'),
        (dict(prompts=dict(depth=1)), 'prompts.length=0'),
        (dict(prompts=dict(init='normal')), "prompts.init='normal' must"),
        (dict(finetune='prompt'), "finetune='prompt'.*prompts.depth"),
        (dict(finetune='attn'), "finetune='attn' is not one of none"),
    ],
)
def test_wrong_options(tiny_arch, options, message):
    with pytest.raises(ValueError, match=message):
        CLIPViT(tiny_arch, **options)


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(out_indices=(1, 2)),
        dict(last_block='value'),
        dict(prompts=dict(depth=3, length=2)),
    ],
)
def test_class_embedding_without_patches(pair, options):
    tower, _ = pair(**options)
    img = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        whole, alone = tower(img), tower(img, dense=False)
    torch.testing.assert_close(alone.cls, whole.cls)
    assert alone.dense.shape == (2, tower.embed_dims, 0, 0)
    for expected, layer in zip(whole.layers, alone.layers):
        torch.testing.assert_close(layer, expected)


@pytest.mark.parametrize(
    'options',
    [{}, dict(last_block=dict(type='MaskCLIPBlock', give_keys=True))],
)
def test_images_in_parts_equal_all_at_once(tiny_arch, monkeypatch, options):
    tower = CLIPViT(tiny_arch, out_indices=(0, 1), **options).eval()
    img = torch.randn(3, 3, 32, 48)
    where = torch.rand(3, 24) < 0.5
    replacements = {
        0: (where, torch.randn(3, 32)),
        1: (where, torch.ones(1, 32)),
    }
    whole = tower(img, replacements)
    monkeypatch.setitem(chunks.CHUNK_BYTES, 'cpu', 2 * 25 * 32 * 4)
    with torch.no_grad():
        parts = tower(img, replacements)
    assert len(parts.layers) == 2
    for part, expected in zip(parts.layers, whole.layers):
        torch.testing.assert_close(part, expected)
    for part, expected in ((parts.dense, whole.dense), (parts.cls, whole.cls)):
        torch.testing.assert_close(part, expected)
    if whole.keys is not None:
        torch.testing.assert_close(parts.keys, whole.keys)


def test_image_smaller_than_a_patch(tiny_arch):
    with pytest.raises(ValueError, match='4x64 pixels is smaller than one'):
        CLIPViT(tiny_arch)(torch.zeros(1, 3, 4, 64))
