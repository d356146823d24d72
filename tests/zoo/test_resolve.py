# SPDX-License-Identifier: Apache-2.0
"""Model arguments: names, configs, and what is neither."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

import ovseg_mm
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.model_index import list_models
from ovseg_mm.utils.paths import resource
from ovseg_mm.zoo import (
    DEFAULT_MODEL,
    add_model_arguments,
    model_of_arguments,
    resolve_model,
    zoo_models,
)

SCCLIP = resource('configs/training_free').joinpath(
    'scclip_clip-vit-b16_ade20k-224x224.py'
)


def test_names():
    source = resolve_model()
    assert source.name == source.model.name == DEFAULT_MODEL
    assert source.config.name.startswith('catseg_clip-vit-b16')
    source = resolve_model('sc-clip')
    assert (source.name, source.config) == ('sc-clip', SCCLIP)
    assert source.options == {} and source.fetch() is None
    assert resolve_model(source) is source


@pytest.mark.parametrize(
    ('clip', 'arch', 'pretrained'),
    [
        ('ViT-L-14-336/openai', 'ViT-L-14-336', 'openai'),
        ('ViT-B-16/laion2b_s34b_b88k', 'ViT-B-16', 'laion2b_s34b_b88k'),
        ('hf-hub:org/name', 'hf-hub:org/name', None),
        ('local-dir:/some/folder', 'local-dir:/some/folder', None),
    ],
)
def test_other_clips(clip, arch, pretrained):
    source = resolve_model(f'naclip:{clip}')
    assert source.options == {
        'model.clip.arch': arch,
        'model.clip.pretrained': pretrained,
    }
    assert '/' not in source.name and ':' not in source.name


def test_configs(tmp_path):
    for name in (SCCLIP, str(SCCLIP), SCCLIP.stem):
        source = resolve_model(name)
        assert (source.config, source.name) == (SCCLIP, SCCLIP.stem)
        assert source.model is None and source.fetch() is None
    cfg = Config(dict(model=dict()))
    assert resolve_model(cfg).config is cfg
    weights = tmp_path / 'x.pth'
    weights.write_bytes(b'')
    assert resolve_model(SCCLIP, weights).fetch() == weights
    assert resolve_model(DEFAULT_MODEL, str(weights)).fetch() == weights
    assert resolve_model(DEFAULT_MODEL, 'none').fetch() is None


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('sc-clp', "no such model.* did you mean 'sc-clip' or 'sclip'?"),
        ('catseg_clip-vit-b16_4xb1-80k_ade20k-640x64', 'ade20k-640x640'),
        ('scclip:ViT-B-16/openai', "did you mean 'sc-clip' or 'sclip'?"),
        ('sc-clip:foo', 'write sc-clip:ARCH/PRETRAINED'),
        ('sc-clip:', 'write sc-clip:ARCH/PRETRAINED'),
        ('toy:ViT-B-16/openai', 'CLIP cannot be chosen; write toy'),
        ('catseg-vitb16:ViT-B-16/openai', 'CLIP cannot be chosen'),
    ],
)
def test_neither(name, message):
    with pytest.raises((InputError, FileNotFoundError), match=message):
        resolve_model(name)


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    return model_of_arguments(parser.parse_args(arguments))


def test_arguments(tmp_path):
    assert parsed().name == DEFAULT_MODEL
    assert parsed('--model', 'toy').name == 'toy'
    assert parsed('--config', SCCLIP.stem).config == SCCLIP
    with pytest.raises(InputError, match='select two models'):
        parsed('--model', 'toy', '--config', SCCLIP.stem)
    with pytest.raises(InputError, match='is given without a model'):
        parsed('--checkpoint', 'x.pth')
    with pytest.raises(FileNotFoundError, match='does not exist'):
        parsed('--model', 'toy', '--checkpoint', str(tmp_path / 'x.pth'))


def test_no_torch_is_imported():
    script = (
        'import importlib.util, sys, types\n'
        "package = types.ModuleType('ovseg_mm')\n"
        'package.__path__ = [sys.argv[1]]\n'
        "sys.modules['ovseg_mm'] = package\n"
        'from ovseg_mm.zoo import resolve_model\n'
        "resolve_model('sc-clip')\n"
        "print([m for m in ('torch', 'mmengine', 'mmseg', 'numpy') "
        'if m in sys.modules])'
    )
    folder = Path(ovseg_mm.__file__).parent
    printed = subprocess.run(
        [sys.executable, '-c', script, folder],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed == '[]\n'


def test_the_metafiles_stay_those_of_mim():
    load_model_index = pytest.importorskip('modelindex.load_model_index')
    index = load_model_index.load(str(resource('model-index.yml')))
    names = {model.name for model in index.models}
    assert names == {entry.name for entry in list_models()}
    assert not index.check_errors


def test_the_table():
    models = zoo_models()
    assert next(iter(models)) == DEFAULT_MODEL
    for name, model in models.items():
        assert model.name == name and model.config.is_file(), name
        assert model.good_for and model.weights_licence, name
        assert ':' not in name and '/' not in name, name
        file = model.file
        if file is None:
            assert not model.options
        elif file.repository:
            assert file.name and not file.page, name
            assert len(file.sha256) in (0, 64), name
        else:
            assert file.page.startswith('https://'), name
    assert models['catseg-vitl14'].miou['ade150'] == 37.9
    assert models['catseg-v1-giant'].miou['pc459'] == 21.4
    assert not models['scan-vitl14'].is_free
    assert not models['cascadeclip-voc'].is_free
    assert models['catseg-vitb16'].is_free
