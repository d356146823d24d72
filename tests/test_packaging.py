# SPDX-License-Identifier: Apache-2.0
"""A wheel of this checkout serves mim from any folder.

``OVSEG_CLASSIC_PYTHON`` names the Python of an environment that has the
classic packages; without it only this environment's stack is tried.
"""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from ovseg_mm.version import __version__

from .end_to_end.conftest import TINY, data_options, metrics_of, tiny_data

__all__ = ['tiny_data']
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CONFIG = 'catseg_clip-vit-b16_4xb1-80k_ade20k-640x640.py'
DIST_INFO = f'ovseg_mm-{__version__}.dist-info'
STACKS = {
    'this': sys.executable,
    'classic': os.environ.get('OVSEG_CLASSIC_PYTHON'),
}


def run(*command, cwd: Path, path: Path | None = None, status: int = 0) -> str:
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ('PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV')
    }
    environment.update(OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1')
    if path:
        environment['PATH'] = f'{path}{os.pathsep}{environment["PATH"]}'
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert result.returncode == status, f'{command}:\n{result.stdout[-6000:]}'
    return result.stdout


@pytest.fixture(scope='module')
def checkout(tmp_path_factory) -> Path:
    """A copy of the files that git tracks or would track."""
    target = tmp_path_factory.mktemp('checkout') / 'ovseg_mm'
    for folder in (
        *('ovseg_mm', 'configs', 'tools', 'requirements', 'tests', 'docs'),
    ):
        shutil.copytree(
            ROOT / folder,
            target / folder,
            ignore=shutil.ignore_patterns('__pycache__', '.mim', '*.pyc'),
        )
    (target / 'data').mkdir()
    for file in [
        *(path for path in ROOT.iterdir() if path.is_file()),
        *(path for path in (ROOT / 'data').iterdir() if path.is_file()),
    ]:
        shutil.copy(file, target / file.relative_to(ROOT))
    # What users have there is none of a wheel's business.
    for name in ('data/ade/image.png', 'work_dirs/x/x.py', 'data/notes.txt'):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text('')
    return target


def build(python: str, source: Path, target: Path) -> Path:
    """Build a wheel without the network."""
    run(
        *(python, '-m', 'pip', 'wheel', '--no-deps', '--no-index'),
        *('--no-build-isolation', '-w', target, source),
        cwd=target.parent,
    )
    (wheel,) = target.glob('*.whl')
    return wheel


@pytest.fixture(scope='module', params=STACKS)
def stack(request) -> str:
    """Python of an environment with a stack."""
    if not STACKS[request.param]:
        pytest.skip('OVSEG_CLASSIC_PYTHON is not set')
    return STACKS[request.param]


@pytest.fixture(scope='module')
def wheel(stack, checkout, tmp_path_factory) -> Path:
    return build(stack, checkout, tmp_path_factory.mktemp('dist') / 'dist')


@pytest.fixture(scope='module')
def installed(stack, wheel, tmp_path_factory) -> Path:
    """Folder of the executables of an environment with the wheel."""
    folder = tmp_path_factory.mktemp('env')
    env = folder / 'env'
    run(stack, '-m', 'venv', '--without-pip', env, cwd=folder)
    python = env / 'bin' / 'python'
    (site,) = env.glob('lib/*/site-packages')
    packages = folder / 'packages'
    run(
        *(stack, ROOT / 'tests' / 'environments.py', packages),
        cwd=folder,
    )
    (site / 'stack.pth').write_text(f'{packages}\n')
    before = run(stack, '-m', 'pip', '--python', python, 'freeze', cwd=folder)
    # Dependencies are looked for, but there is nowhere to get them from.
    run(
        *(stack, '-m', 'pip', '--python', python, 'install', '--no-index'),
        wheel,
        cwd=folder,
    )
    after = run(stack, '-m', 'pip', '--python', python, 'freeze', cwd=folder)
    assert {
        line for line in after.splitlines() if not line.startswith('ovseg')
    } == set(before.splitlines()), 'the stack is left alone'
    (env / 'bin' / 'mim').write_text(
        f'#!{python}\nimport sys\nfrom mim.cli import cli\nsys.exit(cli())\n'
    )
    (env / 'bin' / 'mim').chmod(0o755)
    return env / 'bin'


@pytest.fixture(scope='module')
def home(installed, tiny_data, tmp_path_factory) -> Path:
    """A folder elsewhere, with a config and a training run through mim."""
    folder = tmp_path_factory.mktemp('home')
    (site,) = installed.parent.glob('lib/*/site-packages')
    runtime = site / 'ovseg_mm/.mim/configs/_base_/default_runtime.py'
    first, rest = TINY.read_text().split('_base_ = ', 1)
    rest = rest.split('\n', 1)[1]
    (folder / 'own.py').write_text(f'_base_ = {str(runtime)!r}\n{rest}')
    run(
        *('mim', 'train', 'ovseg_mm', 'own.py', '--gpus', 0),
        *('--work-dir', 'work', '--cfg-options', *data_options(tiny_data)),
        *('train_cfg.max_iters=2', 'train_cfg.val_interval=2'),
        cwd=folder,
        path=installed,
    )
    return folder


def shipped() -> set[str]:
    """What mim and the package look for, relative to the checkout."""
    files = [
        *(ROOT / 'configs').rglob('*.*'),
        *(ROOT / 'tools').rglob('*.*'),
        *(ROOT / 'data').glob('*.json'),
        *(ROOT / 'data').glob('*.tsv'),
        *(ROOT / 'data').glob('*.safetensors'),
        ROOT / 'data' / 'README.md',
        ROOT / 'model-index.yml',
    ]
    names = {str(file.relative_to(ROOT)) for file in files}
    return {name for name in names if '__pycache__' not in name}


def test_contents_of_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        record = archive.read(f'{DIST_INFO}/RECORD').decode()
        metadata = archive.read(f'{DIST_INFO}/METADATA').decode()
    expected = shipped()
    assert f'configs/cat_seg/{CONFIG}' in expected
    assert 'tools/train.py' in expected and 'data/ade150.json' in expected
    prefix = 'ovseg_mm/.mim/'
    found = {n.removeprefix(prefix) for n in names if n.startswith(prefix)}
    assert found == expected
    prefix = f'{DIST_INFO}/.mim/'
    found = {n.removeprefix(prefix) for n in names if n.startswith(prefix)}
    assert found == {n for n in expected if not n.startswith('data/')}
    assert f'{prefix}model-index.yml,' in record, 'pip uninstalls it'
    assert 'ovseg_mm/py.typed' in names
    assert {f'ovseg_mm/web/viewer.{kind}' for kind in ('css', 'js')} <= names
    modules = {
        str(file.relative_to(ROOT))
        for file in (ROOT / 'ovseg_mm').rglob('*.py')
        if '.mim' not in file.parts
    }
    assert {n for n in names if n.endswith('.py') and '.mim' not in n} == (
        modules
    )
    assert not [n for n in names if 'tests' in n or 'work_dirs' in n]
    needed = [
        line
        for line in metadata.splitlines()
        if line.startswith('Requires-Dist: ') and 'extra ==' not in line
    ]
    assert needed and not [line for line in needed if ': mm' in line]
    for extra in ('dev', 'tests', 'onedl', 'classic', 'web'):
        assert f'Provides-Extra: {extra}\n' in metadata


def test_metadata_for_pypi(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f'{DIST_INFO}/METADATA').decode()
    message = email.message_from_string(text)
    assert message['Author'] == 'The ovseg_mm authors'
    links = dict(x.split(', ') for x in message.get_all('Project-URL'))
    assert {'Source', 'Issues', 'Changelog'} <= set(links)
    assert all(link.startswith('https://') for link in links.values())
    classifiers = message.get_all('Classifier')
    for words in ('Python :: 3.10', 'Python :: 3.13', 'POSIX :: Linux'):
        assert any(line.endswith(words) for line in classifiers)
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    links = re.findall(r'(!?)\[[^\]]*\]\(([^)]+)\)', message.get_payload())
    assert len(links) == len(re.findall(r'\]\(', readme)) > 10
    home = 'https://github.com/ovseg-mm/ovseg_mm/blob/main/'
    raw = 'https://raw.githubusercontent.com/ovseg-mm/ovseg_mm/main/'
    pages = []
    for picture, target in links:
        assert target.startswith('https://'), target
        prefix = raw if picture else home
        if target.startswith(prefix):
            pages.append(target.removeprefix(prefix).partition('#')[0])
            assert (ROOT / pages[-1]).exists(), target
    assert 'docs/demo_overlay.png' in pages and 'data/README.md' in pages
    assert '](docs/demo_overlay.png)' in readme, 'as GitHub shows it'


def test_models_are_listed_before_the_stack_is_installed(
    stack, wheel, tmp_path
):
    env = tmp_path / 'env'
    run(stack, '-m', 'venv', '--without-pip', env, cwd=tmp_path)
    python = env / 'bin' / 'python'
    run(
        *(stack, '-m', 'pip', '--python', python, 'install', '--no-index'),
        *('--no-deps', wheel),
        cwd=tmp_path,
    )
    (site,) = env.glob('lib/*/site-packages')
    (site / 'yaml').symlink_to(Path(yaml.__file__).parent)
    output = run(
        *(python, '-m', 'ovseg_mm', 'models', '--configs'), cwd=tmp_path
    )
    assert CONFIG.removesuffix('.py') in output.splitlines()
    picture = ROOT / 'docs' / 'demo_picture.png'
    arguments = ('predict', picture, '--model', 'toy')
    output = run(
        *(python, '-m', 'ovseg_mm', *arguments, '--classes', 'a'),
        cwd=tmp_path,
        status=2,
    )
    (line,) = output.splitlines()
    assert line.startswith('error: ovseg_mm needs MMSegmentation 1.x, which')


def test_wheel_of_the_source_archive(stack, wheel, checkout, tmp_path):
    run(
        *(stack, '-c'),
        'from setuptools import build_meta\n'
        f'build_meta.build_sdist({str(tmp_path)!r})',
        cwd=checkout,
    )
    (archive,) = tmp_path.glob('*.tar.gz')
    with tarfile.open(archive) as content:
        names = [name.partition('/')[2] for name in content.getnames()]
        content.extractall(tmp_path, filter='data')
    # All that git tracks but its own files: `make test` works from it.
    expected = {
        str(path.relative_to(checkout))
        for folder in ('ovseg_mm', 'configs', 'tools', 'tests', 'docs')
        for path in (checkout / folder).rglob('*')
        if path.is_file() and '.mim' not in path.parts
    }
    expected |= {'LICENSE', 'README.md', 'Makefile', 'pyproject.toml'}
    expected |= {f'requirements/{n}.txt' for n in ('runtime', 'tests')}
    assert 'tests/conftest.py' in expected
    assert any(name.endswith('.npz') for name in expected)
    assert expected <= set(names)
    assert not [n for n in names if n.startswith(('data/ade/', 'work_dirs'))]
    again = build(
        stack,
        tmp_path / archive.name.removesuffix('.tar.gz'),
        tmp_path / 'again',
    )
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert set(one.namelist()) == set(two.namelist())


def test_mim_trains_and_tests_from_another_folder(home, installed, tiny_data):
    assert (home / 'work' / 'iter_2.pth').is_file()
    results = [
        metrics_of(
            run(
                *('mim', 'test', package, 'own.py', '--gpus', 0),
                *('--checkpoint', 'work/iter_2.pth', '--work-dir', 'test'),
                *('--cfg-options', *data_options(tiny_data)),
                cwd=home,
                path=installed,
            )
        )
        for package in ('ovseg_mm', 'mmsegmentation')
    ]
    assert results[0] == results[1]
    assert 0 <= results[0]['mIoU'] <= 100


def test_mim_finds_a_config_by_its_bare_name(installed, tmp_path):
    output = run(
        *('mim', 'train', 'ovseg_mm', CONFIG, '--gpus', 0),
        *('--cfg-options', 'model.type=Nothing'),
        cwd=tmp_path,
        path=installed,
        status=1,
    )
    # The script read the config and came as far as the model.
    assert "error: model.type: there is no model 'Nothing'" in output


def test_mim_lists_the_models(installed, tmp_path):
    output = run('mim', 'search', 'ovseg_mm', cwd=tmp_path, path=installed)
    assert CONFIG.removesuffix('.py') in output


def test_mmsegmentations_script_refuses_another_method(
    home, installed, tiny_data
):
    run(
        installed / 'python',
        '-c',
        'import torch\n'
        "names = 'visual.conv1.weight', 'token_embedding.weight'\n"
        "torch.save(dict.fromkeys(names, torch.ones(1)), 'other.pth')",
        cwd=home,
    )
    output = run(
        *('mim', 'test', 'mmsegmentation', 'own.py', '--gpus', 0),
        *('--checkpoint', 'other.pth', '--work-dir', 'test'),
        *('--cfg-options', *data_options(tiny_data)),
        cwd=home,
        path=installed,
        status=1,
    )
    assert 'InputError: other.pth is a checkpoint of CLIP' in output
    assert 'Iter(test)' not in output


def test_the_package_finds_its_files(installed, tmp_path):
    output = run(
        *('python', '-m', 'ovseg_mm', 'doctor'), cwd=tmp_path, path=installed
    )
    assert f'{Path("ovseg_mm", ".mim", "configs")}\n' in output
    output = run(
        *('python', '-m', 'ovseg_mm', 'models', '--configs'),
        cwd=tmp_path,
        path=installed,
    )
    assert CONFIG.removesuffix('.py') in output.splitlines()
