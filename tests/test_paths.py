# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

import ovseg_mm
from ovseg_mm import paths

NAME = 'catseg_clip-vit-b16_4xb1-80k_coco-stuff164k-384x384'
CHECKOUT = Path(ovseg_mm.__file__).parents[1]


def test_resources_lie_beside_the_package_in_a_checkout():
    assert paths.resource('data', 'ade150.json').is_file()
    assert paths.resource('configs') == CHECKOUT / 'configs'


def test_resources_lie_in_the_package_in_a_wheel(tmp_path, monkeypatch):
    package = tmp_path / 'ovseg_mm'
    (package / '.mim' / 'configs').mkdir(parents=True)
    monkeypatch.setattr(paths, '_PACKAGE', package)
    assert paths.resource('data', 'x') == package / '.mim' / 'data' / 'x'


def test_leftovers_without_configs_do_not_count(tmp_path, monkeypatch):
    package = tmp_path / 'ovseg_mm'
    (package / '.mim').mkdir(parents=True)
    monkeypatch.setattr(paths, '_PACKAGE', package)
    assert paths.resource('data') == tmp_path / 'data'


@pytest.mark.parametrize(
    'name',
    [
        NAME,
        f'{NAME}.py',
        f'cat_seg/{NAME}.py',
        f'configs/cat_seg/{NAME}',
        Path(f'{NAME}.py'),
    ],
)
def test_shipped_config_by_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = paths.find_config(name)
    assert found == CHECKOUT / 'configs' / 'cat_seg' / f'{NAME}.py'


def test_file_of_the_user_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / f'{NAME}.py'
    own.write_text('')
    assert paths.find_config(f'{NAME}.py').samefile(own)
    monkeypatch.setenv('HOME', str(tmp_path))
    assert paths.find_config(f'~/{NAME}.py') == own


@pytest.mark.parametrize(
    'name',
    [
        'nothing.py',
        f'/elsewhere/{NAME}.py',  # a wrong path is not silently replaced
        f'elsewhere/{NAME}.py',
        'default_runtime.py',  # a base is no config
        '',
        '*',
    ],
)
def test_no_such_config(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='no such config file'):
        paths.find_config(name)


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv('OVSEG_CACHE', '~/mine')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert paths.cache_folder() == tmp_path / 'mine'
    monkeypatch.delenv('OVSEG_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'xdg'))
    assert paths.cache_folder() == tmp_path / 'xdg' / 'ovseg_mm'
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert paths.cache_folder() == tmp_path / '.cache' / 'ovseg_mm'


def test_weights_of_the_user_come_before_shipped_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = 'data/toy_clip.safetensors'
    assert paths.find_weights(name) == CHECKOUT / name
    (tmp_path / 'data').mkdir()
    (tmp_path / name).write_bytes(b'own')
    assert paths.find_weights(name).read_bytes() == b'own'
    monkeypatch.setenv('HOME', str(tmp_path))
    assert paths.find_weights(f'~/{name}') == tmp_path / name


@pytest.mark.parametrize('name', ['data/none.pt', '/nowhere/none.pt'])
def test_missing_weights_keep_their_name(name):
    assert str(paths.find_weights(name)) == name
