# SPDX-License-Identifier: Apache-2.0
"""Each strategy of the last block against loops in float64."""

import pytest
import torch
from mmseg.registry import MODELS

from ovseg_mm.models import CLIPViT
from ovseg_mm.models.backbones.last_blocks import attend, calibrated
from ovseg_mm.models.backbones.last_blocks.outliers import (
    ClassAttention,
    LargestNorms,
    LocalOutliers,
    largest,
    repair,
)
from ovseg_mm.utils.errors import InputError

from ...tiny import clip_arch
from . import naive_last_blocks as naive

DEPTH, WIDTH = 6, 32
ARCH = clip_arch(
    width=WIDTH, layers=DEPTH, heads=4, image_size=48, quick_gelu=True
)
# Odd, even, not square; native (6x6) first.
GRIDS = [(6, 6), (5, 7), (9, 4)]
SIMPLE = {
    'MaskCLIPBlock': lambda grid: lambda q, k: torch.eye(len(q)).double(),
    'SCLIPBlock': lambda grid: (
        lambda q, k: naive.attention(q, q) + naive.attention(k, k)
    ),
    'ClearCLIPBlock': lambda grid: lambda q, k: naive.attention(q, q),
    'NACLIPBlock': lambda grid: (
        lambda q, k: naive.attention(k, k, naive.gaussian(grid, 5.0))
    ),
}
CALIBRATED = ('SCCLIPBlock', 'SFPBlock')
ALL = (*SIMPLE, *CALIBRATED)
KEPT_BY_DEFAULT = ('MaskCLIPBlock', 'SCLIPBlock')


def tower(block, seed=0, **arch) -> CLIPViT:
    torch.manual_seed(seed)
    vit = CLIPViT(
        dict(ARCH, **arch),
        last_block=dict(type=block) if isinstance(block, str) else block,
        pos_interpolation='dino',
    )
    for parameter in vit.parameters():
        parameter.data.normal_(std=0.2)
    for name, parameter in vit.named_parameters():
        if 'ln_' in name and name.endswith('weight'):
            parameter.data.add_(1)
    return vit.eval()


def images(grid, count=2, seed=1):
    torch.manual_seed(seed)
    return torch.randn(count, 3, 8 * grid[0], 8 * grid[1])


def entered_norm(vit, img):
    """Tokens that enter the last norm, and those behind each block."""
    kept = {}
    vit.ln_post.register_forward_pre_hook(
        lambda _module, inputs: kept.update(result=inputs[0])
    )
    with torch.no_grad():
        vit(img)
        x, grid = vit._embed(img)
        tokens = {-1: x}
        for index, block in enumerate(vit.transformer.resblocks[:-1]):
            tokens[index] = x = block(x)
    return kept['result'], tokens, grid


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('name', SIMPLE)
def test_simple_blocks(name, grid):
    for keep in (False, True):
        vit = tower(dict(type=name, keep_residual_and_mlp=keep))
        ours, tokens, found = entered_norm(vit, images(grid))
        assert found == grid
        for window, x in enumerate(tokens[DEPTH - 2].double()):
            theirs = naive.simple(
                vit.transformer.resblocks[-1], x, SIMPLE[name](grid), keep
            )
            assert relative(ours[window], theirs) < 1e-5


@pytest.mark.parametrize('grid', GRIDS)
@pytest.mark.parametrize('outliers', ['lof', 'norm', 'attention'])
@pytest.mark.parametrize('name', CALIBRATED)
def test_calibrated_blocks(name, outliers, grid):
    vit = tower(dict(type=name, outliers=outliers))
    blocks = vit.transformer.resblocks
    ours, tokens, _ = entered_norm(vit, images(grid))
    plan = vit.replacement.plan(DEPTH)
    everyone = set(range(grid[0] * grid[1]))
    for window in range(2):
        mine = {i: x[window].double() for i, x in tokens.items()}
        last = mine[DEPTH - 2]
        if outliers == 'lof':
            factors = naive.local_outlier_factor(last[1:])
            found = naive.above_quantile(factors)
        elif outliers == 'norm':
            found = naive.top(last[1:].norm(dim=1).tolist(), everyone, 10)
        else:
            by_cls, by_self = naive.class_attention(
                blocks[-2], mine[DEPTH - 3]
            )
            candidates = {i for i in everyone if 1.5 * by_cls[i] > by_self[i]}
            found = naive.top(by_cls, candidates, 10)
        assert found
        theirs = naive.calibrated(
            blocks, mine, grid, plan, found, name == 'SFPBlock'
        )
        assert relative(ours[window, 1:], theirs) < 1e-4


@pytest.mark.parametrize('name', ALL)
def test_defaults_are_the_published_ones(name):
    block = MODELS.build(dict(type=name))
    if name in SIMPLE:
        assert block.keep_residual_and_mlp == (name in KEPT_BY_DEFAULT)
    else:
        published = dict(SCCLIPBlock='lof', SFPBlock='attention')
        assert block.outliers == published[name]


@pytest.mark.parametrize(
    ('depth', 'plan'),
    [
        (12, (8, 3, 3, 10, 0.3)),
        (24, (16, 6, 8, 19, 0.1)),
        (32, (21, 8, 11, 25, 0.1)),
        (4, (2, 1, 0, 3, 0.3)),
        (2, (0, 0, 0, 1, 0.3)),
    ],
)
def test_blocks_follow_the_depth(depth, plan):
    assert tuple(calibrated.default_plan(depth)) == pytest.approx(plan)


@pytest.mark.parametrize('depth', range(2, 49))
def test_blocks_exist_at_every_depth(depth):
    plan = calibrated.SCCLIPBlock().plan(depth)
    assert 0 <= plan.first < plan.end <= depth - 1
    assert 0 <= plan.early <= depth - 2 and 0 <= plan.mid <= depth - 2


@pytest.mark.parametrize('name', ALL)
def test_windows_of_a_batch_do_not_meet(name):
    vit = tower(name)
    img = images((6, 7), count=3)
    with torch.no_grad():
        together = vit(img).dense
        alone = torch.cat([vit(view[None]).dense for view in img])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(name, dtype):
    vit, img = tower(name), images((6, 7))
    with torch.no_grad():
        whole = vit(img).dense
        with torch.autocast('cpu', dtype=dtype):
            half = vit(img).dense
        cast = vit.to(dtype)(img.to(dtype)).dense
    for dense in (half, cast):
        assert dense.isfinite().all()
        cosine = torch.cosine_similarity(dense.float(), whole, dim=1)
        assert cosine.mean() > 0.98


@pytest.mark.parametrize('name', ALL)
def test_images_of_one_colour_have_no_nan(name):
    with torch.no_grad():
        dense = tower(name)(torch.zeros(1, 3, 48, 56)).dense
    assert dense.isfinite().all()


def test_features_follow_the_arch():
    arch = clip_arch(width=24, layers=3, heads=4, image_size=42, patch_size=6)
    for name in ALL:
        vit = tower(name, **arch)
        with torch.no_grad():
            feats = vit(torch.randn(1, 3, 42, 36))
        assert feats.dense.shape == (1, 16, 7, 6)


def test_taps_beside_out_indices():
    vit = tower('SFPBlock')
    plain = tower('SFPBlock')
    plain.out_indices = (1, DEPTH - 1)
    img = images((6, 6))
    with torch.no_grad():
        feats = plain(img)
        torch.testing.assert_close(feats.dense, vit(img).dense)
    assert len(feats.layers) == 2
    assert not torch.allclose(*feats.layers)


def test_keys_of_mask_clip():
    vit = tower(dict(type='MaskCLIPBlock', give_keys=True))
    img, block = images((5, 6)), vit.transformer.resblocks[-1]
    _, tokens, _ = entered_norm(vit, img)
    with torch.no_grad():
        keys = vit(img).keys
        x = block.ln_1(tokens[DEPTH - 2])[:, 1:]
        k_bias = block.attn.in_proj_bias.chunk(3)[1]
        expected = block.attn.out_proj(
            x @ block.attn.k_proj_weight.t() + k_bias
        )
    torch.testing.assert_close(keys.flatten(2).transpose(1, 2), expected)
    assert tower('MaskCLIPBlock')(img).keys is None


def test_mask_clip_is_the_value_path():
    vit, value = tower('MaskCLIPBlock'), tower('MaskCLIPBlock')
    value.replacement, value.last_block = None, 'value'
    img = images((6, 6))
    torch.testing.assert_close(vit(img).dense, value(img).dense)


# Ties and outliers


def test_local_outliers_of_equal_patches():
    x = torch.randn(1, 40, 8)
    x[0, :35] = x[0, 0]  # 34 exact copies each: their reach is 0
    found = LocalOutliers()(
        torch.nn.ModuleList([None, None]), {0: torch.cat([x[:, :1], x], dim=1)}
    )
    assert not found.any()


@pytest.mark.parametrize(('number', 'count'), [(196, 10), (256, 13), (49, 3)])
def test_number_of_local_outliers(number, count):
    torch.manual_seed(0)
    x = torch.randn(2, number + 1, 16)
    found = LocalOutliers()(torch.nn.ModuleList([None, None]), {0: x})
    assert found.sum(dim=1).tolist() == [count, count]


def test_local_outliers_need_31_patches():
    LocalOutliers().factor(torch.randn(1, 31, 4))
    with pytest.raises(InputError, match='30 patches is too small'):
        LocalOutliers().factor(torch.randn(1, 30, 4))


def test_the_first_of_equal_scores_are_largest():
    scores = torch.tensor([[1.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    expected = [[True, True, False, False], [True, True, False, False]]
    assert largest(scores, 2).tolist() == expected
    scores[0, 1:] = -torch.inf
    assert largest(scores, 2).tolist()[0] == [True, False, False, False]
    assert largest(scores, 9).sum(dim=1).tolist() == [1, 4]


def test_fewer_patches_than_norms_to_find():
    x = torch.randn(1, 7, 4)
    found = LargestNorms()(torch.nn.ModuleList([None, None]), {0: x})
    assert found.sum() == 6


def test_no_candidate_no_repair():
    vit = tower('SFPBlock')
    detector = ClassAttention(factor=0.0)
    _, tokens, _ = entered_norm(vit, images((6, 6)))
    assert not detector(vit.transformer.resblocks, tokens).any()


def test_outliers_without_neighbours_stay():
    x = torch.arange(12.0).view(1, 12, 1)
    outliers = torch.zeros(1, 12, dtype=torch.bool)
    outliers[0, [0, 1, 4, 5]] = True  # a corner of a 3x4 grid
    fixed = repair(x, outliers, (3, 4))[0, :, 0]
    assert fixed[0] == 0  # all its neighbours are outliers
    assert fixed[1] == pytest.approx((2 + 6) / 2)
    assert fixed[4] == pytest.approx((8 + 9) / 2)
    assert fixed[5] == pytest.approx((2 + 6 + 8 + 9 + 10) / 5)
    assert fixed[[2, 3, 6, 11]].tolist() == [2, 3, 6, 11]


def test_sharpened_rows():
    similarity = torch.tensor(
        [[[1.0, 0.2, -0.5], [0.2, 1.0, 0.2], [-0.5, 0.2, 1.0]]]
    )
    rows = calibrated.sharpened(similarity)
    mean = similarity.mean()
    assert (rows[similarity < mean] == 0).all()
    torch.testing.assert_close(rows.sum(dim=2), torch.ones(1, 3))


def test_attend_is_attention():
    q, k, v = torch.randn(3, 2, 3, 5, 4).unbind()
    bias = torch.randn(5, 5)
    maps = (q @ k.transpose(2, 3) / 2 + bias).softmax(dim=3)
    torch.testing.assert_close(attend(q, k, v, bias), maps @ v)


# Errors


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(type='SCCLIPBlock', mid_layer=5), 'mid_layer=5 .* 0 to 4'),
        (dict(type='SFPBlock', early_layer=-1), 'early_layer=-1'),
        (dict(type='SFPBlock', sum_layers=(2, 6)), r'sum_layers=\(2, 6\)'),
        (dict(type='SFPBlock', sum_layers=(3, 3)), r'sum_layers=\(3, 3\)'),
        (dict(type='SFPBlock', outliers='iqr'), "outliers='iqr'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        tower(options)


def test_small_windows_are_refused():
    with pytest.raises(InputError, match='a window of 30 patches'):
        tower('SCCLIPBlock')(images((5, 6)))


def test_towers_of_one_block_are_refused():
    shallow = dict(ARCH['vision_cfg'], layers=1)
    with pytest.raises(InputError, match='this CLIP has 1'):
        tower('SCLIPBlock', vision_cfg=shallow)


def test_prompts_are_refused():
    with pytest.raises(ValueError, match='does not support prompt tokens'):
        CLIPViT(
            ARCH,
            last_block=dict(type='SCLIPBlock'),
            prompts=dict(depth=1, length=1),
        )
