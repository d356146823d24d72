# SPDX-License-Identifier: Apache-2.0
import sys

import pytest

from ovseg_mm.checkpoints import clip_arch, clip_shapes
from ovseg_mm.checkpoints.clip_arch import plain_vit_names


def test_defaults_are_filled_in(tiny_arch):
    del tiny_arch['quick_gelu'], tiny_arch['text_cfg']['heads']
    del tiny_arch['text_cfg']['context_length']
    arch = clip_arch(tiny_arch)
    assert arch['quick_gelu'] is False
    assert arch['vision_cfg'] == dict(
        image_size=32,
        layers=2,
        width=64,
        patch_size=16,
        head_width=64,
        mlp_ratio=4.0,
        heads=1,
    )
    assert arch['text_cfg']['heads'] == 1
    assert arch['text_cfg']['context_length'] == 77
    assert 'mlp_ratio' not in tiny_arch['text_cfg']
    assert clip_arch(arch) == arch


@pytest.mark.parametrize(
    ('name', 'tag', 'quick_gelu'),
    [
        ('ViT-B-16', 'openai', True),
        ('ViT-B-16', None, False),
        ('ViT-B-16', 'laion2b_s34b_b88k', False),
        ('ViT-B-16-quickgelu', None, True),
        ('ViT-L-14', 'metaclip_400m', True),
        ('ViT-L-14-336', 'openai', True),
        ('ViT-H-14', 'laion2b_s32b_b79k', False),
        ('ViT-bigG-14', 'laion2b_s39b_b160k', False),
    ],
)
def test_activation_follows_the_tag(name, tag, quick_gelu):
    assert clip_arch(name, tag)['quick_gelu'] is quick_gelu


def test_dict_with_openai_weights(tiny_arch):
    tiny_arch['quick_gelu'] = False
    assert clip_arch(tiny_arch, 'openai')['quick_gelu'] is True


def test_options_of_norms(tiny_arch):
    from ovseg_mm.models import CLIPViT

    def epsilons():
        tower = CLIPViT(tiny_arch)
        norms = (tower.ln_pre, tower.transformer.resblocks[1].ln_2)
        return {norm.eps for norm in (*norms, tower.ln_post)}

    assert epsilons() == {1e-5}
    tiny_arch['vision_cfg']['norm_kwargs'] = dict(eps=1e-6)
    assert epsilons() == {1e-6}
    tiny_arch['vision_cfg']['norm_kwargs'] = dict(bias=False)
    with pytest.raises(ValueError, match=r'vision_cfg\.norm_kwargs\.bias'):
        clip_arch(tiny_arch)


def test_heads():
    assert clip_arch('ViT-H-14')['vision_cfg']['heads'] == 16
    assert clip_arch('ViT-bigG-14')['vision_cfg']['heads'] == 16


@pytest.mark.parametrize('name', ['ViT-B-16', 'ViT-bigG-14'])
def test_shapes_are_those_of_open_clip(name):
    import open_clip
    import torch

    arch = clip_arch(name)
    arch['vision_cfg']['layers'] = arch['text_cfg']['layers'] = 2
    vision = open_clip.CLIPVisionCfg(
        **{k: v for k, v in arch['vision_cfg'].items() if k != 'heads'}
    )
    with torch.device('meta'):
        model = open_clip.CLIP(
            arch['embed_dim'],
            vision,
            open_clip.CLIPTextCfg(**arch['text_cfg']),
        )
    expected = {}
    for key, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        if key.endswith('in_proj_weight'):
            for q in 'qkv':
                key_q = key.replace('in_proj_weight', f'{q}_proj_weight')
                expected[key_q] = (shape[0] // 3, shape[1])
        elif key != 'logit_scale':
            expected[key] = shape
    assert clip_shapes(arch) == expected


def test_unknown_names():
    with pytest.raises(ValueError, match="'ViT-B/16'.*did you mean ViT-B-16"):
        clip_arch('ViT-B/16')
    with pytest.raises(ValueError, match='is not a tag of ViT-B-16 .*openai'):
        clip_arch('ViT-B-16', 'opanai')
    with pytest.raises(ValueError, match='arch=7'):
        clip_arch(7)


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('RN50', 'a ResNet'),
        ('coca_ViT-B-32', 'multimodal_cfg'),
        ('ViT-B-16-SigLIP', 'no class token'),
        ('ViT-H-14-CLIPA', 'no_causal_mask'),
        ('roberta-ViT-B-32', 'hf_model_name'),
    ],
)
def test_other_kinds_of_clip(name, reason):
    with pytest.raises(ValueError, match=f'{reason}.*supported are'):
        clip_arch(name)


def test_every_plain_vision_transformer_is_taken():
    names = plain_vit_names()
    assert {'ViT-B-32', 'ViT-L-14-336-quickgelu', 'ViT-bigG-14'} <= set(names)
    assert not any('SigLIP' in name or 'EVA' in name for name in names)


@pytest.mark.parametrize(
    ('part', 'key', 'value'),
    [
        ('vision_cfg', 'width', 65),
        ('vision_cfg', 'layers', 0),
        ('vision_cfg', 'image_size', [32, 64]),
        ('text_cfg', 'heads', 5),
        ('text_cfg', 'layers', '3'),
        ('text_cfg', 'hf_model_name', 'roberta'),
        ('vision_cfg', 'patch_dropout', 0.5),
    ],
)
def test_bad_dicts(tiny_arch, part, key, value):
    tiny_arch[part][key] = value
    with pytest.raises(ValueError, match=key):
        clip_arch(tiny_arch)


def test_incomplete_dicts(tiny_arch):
    del tiny_arch['text_cfg']
    with pytest.raises(ValueError, match='lacks text_cfg'):
        clip_arch(tiny_arch)


def test_open_clip_is_imported_on_demand(tiny_arch, monkeypatch):
    monkeypatch.setitem(sys.modules, 'open_clip', None)
    assert clip_arch(tiny_arch)['embed_dim'] == tiny_arch['embed_dim']
    with pytest.raises(ImportError):
        clip_arch('ViT-B-16')
