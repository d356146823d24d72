# SPDX-License-Identifier: Apache-2.0
import os
import socket
from pathlib import Path

import pytest

import ovseg_mm
from ovseg_mm.utils import paths
from ovseg_mm.utils.errors import InputError

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


@pytest.fixture(params=['pipe', 'socket', 'folder', 'link to a pipe'])
def special(request, tmp_path):
    """Something that has a name, but is not a file."""
    path = tmp_path / 'special'
    if request.param == 'folder':
        path.mkdir()
        return path
    if request.param == 'socket':
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        request.addfinalizer(server.close)
        return path
    os.mkfifo(path)
    if request.param == 'link to a pipe':
        (tmp_path / 'link').symlink_to(path)
        return tmp_path / 'link'
    return path


def test_what_is_not_a_file_is_not_replaced(special):
    before = special.lstat()
    with pytest.raises(OSError, match=f'{special} cannot be written: it is a'):
        paths.write_text(special, 'text')
    after = special.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


def test_devices_are_not_replaced():
    with pytest.raises(OSError, match='/dev/null .* it is a device, not a'):
        paths.check_destination('/dev/null')


def test_files_that_are_read_only_are_kept(tmp_path):
    path = tmp_path / 'x'
    path.write_text('old')
    path.chmod(0o444)
    with pytest.raises(PermissionError, match='x cannot be written: the file'):
        paths.write_text(path, 'new')
    assert path.read_text() == 'old'


def test_the_folder_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'{tmp_path}/a does not exis'):
        paths.write_text(tmp_path / 'a' / 'x', 'text')


def test_temporary_files_are_new_ones(tmp_path, monkeypatch):
    """A link that waits under the name of a temporary file."""
    victim = tmp_path / 'victim'
    victim.write_text('old')
    monkeypatch.setattr(paths.secrets, 'token_hex', lambda size: 'token')
    (tmp_path / '.x.token.tmp').symlink_to(victim)
    with pytest.raises(OSError, match='x cannot be written: File exists'):
        paths.write_text(tmp_path / 'x', 'new')
    assert victim.read_text() == 'old'
    monkeypatch.undo()
    paths.write_text(tmp_path / 'x', 'new')
    assert (tmp_path / 'x').read_text() == 'new'
    assert victim.read_text() == 'old'


def test_temporary_names_differ_and_are_short(tmp_path):
    name = 'n' * 250
    found = []
    for _ in range(2):
        with paths.atomic_write(tmp_path / name) as file:
            file.write(b'x')
            found.append(
                os.path.basename(os.readlink(f'/proc/self/fd/{file.fileno()}'))
            )
    assert found[0] != found[1]
    assert os.listdir(tmp_path) == [name]


def test_new_files_have_the_usual_mode(tmp_path):
    paths.write_text(tmp_path / 'ours', 'x')
    (tmp_path / 'usual').write_text('x')
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize('name', ['../x', '/x', 'a/../../x', '', '..'])
def test_names_that_lead_out_of_a_folder(name, tmp_path):
    with pytest.raises(ValueError, match='leads out of the folder'):
        paths.path_inside(tmp_path, name)


@pytest.mark.parametrize('name', ['x.png', 'a/x.png', '..x', 'a..b'])
def test_names_in_a_folder(name, tmp_path):
    assert paths.path_inside(tmp_path, name) == tmp_path / name


def test_leftovers_of_a_file(tmp_path):
    names = ['.a.1.tmp', '.a.2.tmp', '.b.1.tmp', 'a', '.a[1].3.tmp']
    for name in names:
        (tmp_path / name).write_text('x')
    paths.remove_leftovers(tmp_path, 'a')
    assert sorted(os.listdir(tmp_path)) == ['.a[1].3.tmp', '.b.1.tmp', 'a']
    paths.remove_leftovers(tmp_path, 'a[1]')
    assert sorted(os.listdir(tmp_path)) == ['.b.1.tmp', 'a']
    paths.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ['a']


def test_home_of_a_user_that_there_is_not(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    assert paths.expanded('~/x.png') == Path('/home/me/x.png')
    for read in (paths.expanded, paths.find_config, paths.find_weights):
        with pytest.raises(InputError, match='no home folder ~nobody_here'):
            read('~nobody_here/x.png')


@pytest.mark.parametrize('name', ['model.pth', 'model.safetensors', 'model'])
def test_weights_in_the_place_of_a_config(tmp_path, name):
    (tmp_path / name).write_bytes(b'PK\x03\x04')
    with pytest.raises(InputError) as caught:
        paths.find_config(tmp_path / name)
    assert f'{name} is not a config file (.py, .yml, .yaml, .json)' in str(
        caught.value
    )
    assert 'check whether the checkpoint and the config are swapped' in str(
        caught.value
    )
