# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch
from safetensors.torch import save_file

from ovseg_mm.checkpoints import (
    clip_arch,
    clip_shapes,
    compact_clip,
    convert,
    load_clip_weights,
)


def assert_same(weights, expected):
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected[name]), name


def test_nothing_named_means_random_initialisation(tiny_arch):
    assert load_clip_weights(tiny_arch) is None
    assert load_clip_weights(None) is None


@pytest.mark.parametrize('suffix', ['pt', 'bin', 'safetensors'])
def test_open_clip_file(
    tmp_path, tiny_arch, open_clip_weights, our_weights, suffix
):
    path = tmp_path / f'weights.{suffix}'
    if suffix == 'safetensors':
        save_file(open_clip_weights, path)
    elif suffix == 'bin':
        torch.save(open_clip_weights, path)
    else:  # as open_clip's training writes them
        wrapped = {f'module.{k}': v for k, v in open_clip_weights.items()}
        torch.save(dict(epoch=3, state_dict=wrapped, name='run'), path)
    assert_same(load_clip_weights(tiny_arch, None, path), our_weights)


def test_legacy_torch_file(
    tmp_path, tiny_arch, open_clip_weights, our_weights
):
    path = tmp_path / 'old.pth'
    torch.save(open_clip_weights, path, _use_new_zipfile_serialization=False)
    assert_same(load_clip_weights(tiny_arch, None, path), our_weights)


def test_numpy_values(tmp_path, tiny_arch, open_clip_weights, our_weights):
    path = tmp_path / 'model.pth'
    arrays = {k: v.numpy() for k, v in open_clip_weights.items()}
    torch.save(dict(model=arrays, iteration=7), path)
    assert_same(load_clip_weights(tiny_arch, None, path), our_weights)


@pytest.mark.filterwarnings('error')
def test_openai_archive(tiny_arch, openai_archive, our_weights):
    path = openai_archive
    assert_same(load_clip_weights(tiny_arch, None, path), our_weights)
    tiny_arch['quick_gelu'] = False
    assert_same(load_clip_weights(tiny_arch, 'openai', path), our_weights)
    with pytest.raises(ValueError, match="QuickGELU.*pretrained='openai'"):
        load_clip_weights(tiny_arch, None, path)


def test_custom_text_clip(
    tmp_path, tiny_arch, our_weights, custom_text_weights
):
    weights = custom_text_weights
    assert any(name.startswith('text.') for name in weights)
    torch.save(weights, tmp_path / 'model.pt')
    loaded = load_clip_weights(tiny_arch, None, tmp_path / 'model.pt')
    assert loaded.keys() == our_weights.keys()
    assert torch.equal(
        loaded['text_projection'], weights['text.text_projection']
    )
    assert torch.equal(
        loaded['visual.transformer.resblocks.1.attn.k_proj_weight'],
        weights['visual.transformer.resblocks.1.attn.in_proj_weight'][64:128],
    )


@pytest.mark.parametrize('suffix', ['bin', 'safetensors'])
def test_huggingface_folder(
    tmp_path, tiny_arch, huggingface_weights, our_weights, suffix
):
    weights = huggingface_weights
    if suffix == 'bin':
        torch.save(weights, tmp_path / 'pytorch_model.bin')
    else:
        save_file(weights, tmp_path / 'model.safetensors')
    config = dict(vision_config=dict(hidden_act='quick_gelu'))
    (tmp_path / 'config.json').write_text(json.dumps(config))
    assert_same(load_clip_weights(tiny_arch, None, tmp_path), our_weights)
    tiny_arch['quick_gelu'] = False
    with pytest.raises(ValueError, match="hidden_act='quick_gelu'"):
        load_clip_weights(tiny_arch, None, tmp_path)


def test_sharded_huggingface_folder(
    tmp_path, tiny_arch, huggingface_weights, our_weights
):
    weights = huggingface_weights
    weight_map = {}
    for i, names in enumerate((list(weights)[:20], list(weights)[20:])):
        shard = f'pytorch_model-{i + 1:05d}-of-00002.bin'
        torch.save({name: weights[name] for name in names}, tmp_path / shard)
        weight_map.update(dict.fromkeys(names, shard))
    index = tmp_path / 'pytorch_model.bin.index.json'
    index.write_text(json.dumps(dict(weight_map=weight_map)))
    assert_same(load_clip_weights(tiny_arch, None, tmp_path), our_weights)


def test_open_clip_folder_and_home(
    tmp_path, monkeypatch, tiny_arch, open_clip_weights, our_weights
):
    (tmp_path / 'clip').mkdir()
    torch.save(
        open_clip_weights, tmp_path / 'clip' / 'open_clip_pytorch_model.bin'
    )
    monkeypatch.setenv('HOME', str(tmp_path))
    assert_same(load_clip_weights(tiny_arch, None, '~/clip'), our_weights)


def test_own_files(tmp_path, tiny_arch, open_clip_weights, our_weights):
    torch.save(our_weights, tmp_path / 'ours.pt')
    assert_same(
        load_clip_weights(tiny_arch, None, tmp_path / 'ours.pt'), our_weights
    )
    torch.save(open_clip_weights, tmp_path / 'open_clip.pt')
    convert(tmp_path / 'open_clip.pt', tmp_path / 'converted.pth')
    assert_same(
        load_clip_weights(tiny_arch, None, tmp_path / 'converted.pth'),
        our_weights,
    )


@pytest.mark.parametrize('fused', [True, False])
def test_compact_file(
    tmp_path, tiny_arch, open_clip_weights, our_weights, fused
):
    weights = open_clip_weights if fused else our_weights
    compact = compact_clip(weights, range(50), seed=1, std=0.02)
    save_file(compact, tmp_path / 'tiny.safetensors')
    assert_same(
        load_clip_weights(tiny_arch, None, tmp_path / 'tiny.safetensors'),
        our_weights,
    )


def test_wrong_architecture_names_the_right_one(tmp_path, open_clip_weights):
    path = tmp_path / 'tiny.pt'
    torch.save(open_clip_weights, path)
    with pytest.raises(ValueError, match='does not fit ViT-B-16') as error:
        load_clip_weights('ViT-B-16', None, path)
    assert 'width 64, 2 layers, patch size 16, image size 32' in str(
        error.value
    )
    shapes = clip_shapes(clip_arch('ViT-B-32'))
    base32 = {name: torch.empty(1).expand(s) for name, s in shapes.items()}
    torch.save(base32, path)
    with pytest.raises(ValueError, match='to hold ViT-B-32 .*image size 224'):
        load_clip_weights('ViT-B-16', None, path)


def test_missing_and_surplus_tensors(tmp_path, tiny_arch, our_weights):
    path = tmp_path / 'part.pt'
    part = dict(our_weights)
    del part['visual.ln_post.bias']
    torch.save(part, path)
    with pytest.raises(ValueError, match=r'visual\.ln_post\.bias .*missing'):
        load_clip_weights(tiny_arch, None, path)
    torch.save({**our_weights, 'visual.attn_pool.query': torch.ones(3)}, path)
    with pytest.raises(ValueError, match='attn_pool.query is not a tensor'):
        load_clip_weights(tiny_arch, None, path)


def test_checkpoint_of_a_method_is_no_clip(tmp_path, tiny_arch):
    path = tmp_path / 'scan.pth'
    names = (
        'fusion_decoder.multiattn.0.in_proj_weight',
        'clip_adapter.original_clip.conv1.weight',
    )
    torch.save({name: torch.ones(2) for name in names}, path)
    with pytest.raises(ValueError, match='checkpoint of SCAN'):
        load_clip_weights(tiny_arch, None, path)


def test_hub_needs_a_name(tiny_arch):
    with pytest.raises(ValueError, match='arch is a dict; set arch'):
        load_clip_weights(tiny_arch, 'openai')


def test_missing_file(tmp_path, tiny_arch):
    with pytest.raises(FileNotFoundError, match='nowhere.pt does not exist'):
        load_clip_weights(tiny_arch, None, tmp_path / 'nowhere.pt')
