# SPDX-License-Identifier: Apache-2.0
"""Folders of open_clip and transformers, and names of open_clip's schemas."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from ovseg_mm.checkpoints import clip_arch, load_clip_weights

from .test_clip_weights import assert_same

SAFE = 'open_clip_model.safetensors'
# As CLIPModel.save_pretrained of transformers 5 writes it, without the
# options that say nothing of the towers; version 4 leaves defaults out.
VISION = dict(
    hidden_act='quick_gelu',
    hidden_size=64,
    image_size=32,
    intermediate_size=256,
    model_type='clip_vision_model',
    num_attention_heads=1,
    num_channels=3,
    num_hidden_layers=2,
    patch_size=16,
    projection_dim=512,
)
TEXT = dict(
    hidden_act='quick_gelu',
    hidden_size=64,
    intermediate_size=256,
    max_position_embeddings=9,
    model_type='clip_text_model',
    num_attention_heads=1,
    num_hidden_layers=3,
    projection_dim=512,
    vocab_size=50,
)
TRANSFORMERS = dict(
    architectures=['CLIPModel'],
    model_type='clip',
    projection_dim=16,
    text_config=TEXT,
    vision_config=VISION,
)


def write(folder, weights, config, name=SAFE, config_name=None):
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / name)
    config_name = config_name or (
        'open_clip_config.json' if 'open_clip' in name else 'config.json'
    )
    (folder / config_name).write_text(json.dumps(config))
    return folder


@pytest.fixture
def open_clip_folder(tmp_path, tiny_arch, open_clip_weights):
    """As open_clip's ``save_for_hf`` writes it."""
    config = dict(
        model_cfg={**tiny_arch, 'custom_text': False},
        preprocess_cfg=dict(
            mean=[0.48145466, 0.4578275, 0.40821073],
            std=[0.26862954, 0.26130258, 0.27577711],
        ),
    )
    folder = write(tmp_path / 'open_clip', open_clip_weights, config)
    torch.save(open_clip_weights, folder / 'open_clip_pytorch_model.bin')
    return folder


@pytest.fixture
def transformers_folder(tmp_path, huggingface_weights):
    """As transformers' ``CLIPModel.save_pretrained`` writes it."""
    folder = tmp_path / 'transformers'
    return write(
        folder, huggingface_weights, TRANSFORMERS, 'model.safetensors'
    )


@pytest.mark.parametrize('kind', ['open_clip', 'transformers'])
def test_folder_describes_itself(
    request, kind, tiny_arch, our_weights, monkeypatch
):
    folder = request.getfixturevalue(f'{kind}_folder')
    arch = f'local-dir:{folder}'
    assert clip_arch(arch) == clip_arch(tiny_arch)
    assert_same(load_clip_weights(arch), our_weights)
    assert_same(load_clip_weights(tiny_arch, None, arch), our_weights)
    assert_same(load_clip_weights(tiny_arch, None, folder), our_weights)
    monkeypatch.chdir(folder.parent)
    assert_same(load_clip_weights(f'local-dir:{kind}'), our_weights)
    monkeypatch.setenv('HOME', str(folder.parent))
    assert_same(load_clip_weights(f'local-dir:~/{kind}'), our_weights)


def test_config_of_each_library_goes_with_its_weights(
    open_clip_folder, tiny_arch, huggingface_weights, our_weights
):
    config = {
        **TRANSFORMERS,
        'vision_config': {**VISION, 'hidden_act': 'gelu'},
    }
    write(open_clip_folder, huggingface_weights, config, 'model.safetensors')
    assert_same(
        load_clip_weights(tiny_arch, None, open_clip_folder), our_weights
    )
    path = open_clip_folder / 'model.safetensors'
    with pytest.raises(ValueError, match="json says hidden_act='gelu'"):
        load_clip_weights(tiny_arch, None, path)


@pytest.mark.parametrize('quick', [True, False])
def test_activation_of_an_open_clip_folder_is_read(
    tmp_path, tiny_arch, open_clip_weights, quick
):
    config = dict(model_cfg={**tiny_arch, 'quick_gelu': quick})
    if not quick:
        del config['model_cfg']['quick_gelu']
    folder = write(tmp_path / 'x', open_clip_weights, config)
    assert clip_arch(f'local-dir:{folder}')['quick_gelu'] is quick
    tiny_arch['quick_gelu'] = not quick
    for path in (folder, folder / SAFE, f'local-dir:{folder}'):
        with pytest.raises(
            ValueError, match=f'open_clip_config.json says quick_gelu={quick}'
        ):
            load_clip_weights(tiny_arch, None, path)


def test_other_normalisation_is_warned_of(
    open_clip_folder, tiny_arch, recwarn
):
    load_clip_weights(tiny_arch, None, open_clip_folder)
    assert not [w for w in recwarn if 'normalised' in str(w.message)]
    path = open_clip_folder / 'open_clip_config.json'
    config = json.loads(path.read_text())
    config['preprocess_cfg']['mean'] = [0.5, 0.5, 0.5]
    path.write_text(json.dumps(config))
    with pytest.warns(
        UserWarning, match=r'with mean \[127\.5, 127\.5, 127'
    ) as w:
        load_clip_weights(tiny_arch, None, open_clip_folder)
    assert len(w) == 1


def test_defaults_of_transformers():
    from ovseg_mm.checkpoints.clip_sources import arch_of_config

    arch = clip_arch(arch_of_config({'model_type': 'clip'}, 'x'))
    assert arch == clip_arch('ViT-B-32', 'openai')
    large = dict(
        model_type='clip',
        projection_dim=768,
        vision_config=dict(
            hidden_size=1024,
            intermediate_size=4096,
            num_attention_heads=16,
            num_hidden_layers=24,
            patch_size=14,
            hidden_act='gelu',
        ),
        text_config=dict(
            hidden_size=768, intermediate_size=3072, num_attention_heads=12
        ),
    )
    assert clip_arch(arch_of_config(large, 'x')) == clip_arch('ViT-L-14')


def test_config_with_all_of_open_clips_options(tiny_arch):
    import open_clip

    full = dict(
        tiny_arch,
        vision_cfg=asdict(open_clip.CLIPVisionCfg(**tiny_arch['vision_cfg'])),
        text_cfg=asdict(open_clip.CLIPTextCfg(**tiny_arch['text_cfg'])),
    )
    assert clip_arch(full) == clip_arch(tiny_arch)
    full['vision_cfg']['ls_init_value'] = 0.1
    with pytest.raises(ValueError, match='has vision_cfg.ls_init_value, whi'):
        clip_arch(full)


@pytest.mark.parametrize('style', ['version 4', 'version 5', 'open_clip'])
@pytest.mark.parametrize('tower', ['image', 'text'])
def test_one_tower_alone(
    tmp_path, tiny_arch, huggingface_weights, open_clip_weights, style, tower
):
    weights, prefix = (
        huggingface_weights,
        {
            'image': ('vision_model.', 'visual_projection'),
            'text': ('text_model.', 'text_projection'),
        }[tower],
    )
    config = VISION if tower == 'image' else TEXT
    if style == 'open_clip':
        weights = open_clip_weights
        part = {
            name: value
            for name, value in weights.items()
            if name.startswith('visual.') == (tower == 'image')
        }
    else:
        part = {k: v for k, v in weights.items() if k.startswith(prefix)}
        if style == 'version 5':
            part = {k.removeprefix(prefix[0]): v for k, v in part.items()}
    folder = write(tmp_path / 'x', part, config, 'model.safetensors')
    words = f'holds only the {tower} tower of a CLIP, the '
    for arguments in (
        (tiny_arch, None, folder),
        (tiny_arch, None, folder / 'model.safetensors'),
        (f'local-dir:{folder}',),
    ):
        with pytest.raises(ValueError, match=words):
            load_clip_weights(*arguments)


@pytest.mark.parametrize('name', ['ViT-B-16-SigLIP', 'ViT-SO400M-14-SigLIP2'])
def test_siglip_by_name(name):
    with pytest.raises(ValueError, match='is a SigLIP, .* no class token'):
        clip_arch(name)


@pytest.mark.parametrize('kind', ['siglip', 'siglip2', 'siglip_vision_model'])
def test_siglip_of_transformers(tmp_path, tiny_arch, kind):
    names = ['vision_model.head.probe', 'vision_model.post_layernorm.bias']
    if 'vision' not in kind:
        names.append('logit_bias')
    weights = {name: torch.ones(1) for name in names}
    config = dict(model_type=kind)
    folder = write(tmp_path / 'x', weights, config, 'model.safetensors')
    for arguments in ((tiny_arch, None, folder), (f'local-dir:{folder}',)):
        with pytest.raises(ValueError, match='is a SigLIP, .* use a CLIP'):
            load_clip_weights(*arguments)


def test_siglip_of_open_clip(tmp_path, tiny_arch):
    import open_clip

    model = open_clip.get_model_config('ViT-B-16-SigLIP')
    weights = {'logit_bias': torch.ones(1), 'visual.trunk.x': torch.ones(1)}
    folder = write(tmp_path / 'x', weights, dict(model_cfg=model))
    for arguments in ((tiny_arch, None, folder), (f'local-dir:{folder}',)):
        with pytest.raises(ValueError, match='is a SigLIP, '):
            load_clip_weights(*arguments)


@pytest.mark.parametrize(
    'arguments, words',
    [
        (('local-dir:',), 'local-dir:: the folder does not exist'),
        (('local-dir:gone',), 'local-dir:gone: the folder does not exist'),
        (('local-dir:empty',), 'the folder empty holds none of'),
        (('local-dir:bare',), 'has no open_clip_config.json or config.json'),
        (('local-dir:broken',), 'is not a JSON file'),
        (('local-dir:bert',), "of the type 'bert', expected 'clip'"),
        (('local-dir:gelu_new',), "activation hidden_act='gelu_new'"),
        (('hf-hub:',), 'write hf-hub:ORG/NAME'),
        (('hf-hub:name',), 'write hf-hub:ORG/NAME'),
        (('hf-hub:org/x', 'openai'), 'own weights, so pretrained='),
        (('ViT-B-16', 'hf-hub:org/x'), "set custom_clip_weights='hf-hub:org"),
        (('openai/clip', 'openai'), "write 'hf-hub:openai/clip'"),
        (('ViT-B-16', None, 'org/x'), "repository of the hub, 'hf-hub:org/x'"),
    ],
)
def test_names_that_lead_nowhere(
    tmp_path, monkeypatch, huggingface_weights, arguments, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    for name, text in dict(
        bare='{}',
        broken='{',
        bert='{"model_type": "bert"}',
        gelu_new='{"vision_config": {"hidden_act": "gelu_new"}}',
    ).items():
        write(tmp_path / name, huggingface_weights, {}, 'model.safetensors')
        (tmp_path / name / 'config.json').write_text(text)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_clip_weights(*arguments)
    assert words in str(caught.value)
    assert '\n' not in str(caught.value)
