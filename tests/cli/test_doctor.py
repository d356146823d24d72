# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovseg_mm.cli import main
from ovseg_mm.version import __version__

from ..environments import link_packages

ROOT = Path(__file__).parents[2]


def test_whole_environment(capsys, cache):
    assert main(['doctor']) == 0
    printed = capsys.readouterr().out
    for words in (
        __version__,
        'mmseg ',
        'torch ',
        'mim ',
        'cores',
        str(ROOT / 'configs'),
        str(cache),
    ):
        assert words in printed
    assert 'problem' not in printed
    assert printed.endswith('all is well\n')


def test_folder_that_cannot_be_written(capsys, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('OVSEG_CACHE', str(tmp_path / 'file' / 'cache'))
    assert main(['doctor']) == 1
    printed = capsys.readouterr().out
    cache = tmp_path / 'file' / 'cache'
    assert f'problem: no file can be written to {cache}' in printed
    assert printed.endswith('broken\n')


def run_in(packages: Path, *arguments):
    """The command in an environment that has these packages alone."""
    return subprocess.run(
        [sys.executable, '-S', '-m', 'ovseg_mm', *arguments],
        cwd=packages.parent,
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join([str(packages), str(ROOT)]),
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_without_mmengine(tmp_path):
    packages = link_packages(
        tmp_path / 'packages', ('mmengine', 'onedl_mmengine')
    )
    result = run_in(packages, 'doctor')
    assert result.returncode == 1, result.stderr
    lines = result.stdout.splitlines()
    assert any(
        line.split() == ['mmengine', 'not', 'installed'] for line in lines
    )
    problems = [line for line in lines if line.startswith('problem: ')]
    assert any(
        'needs mmengine' in line and 'pip install ' in line
        for line in problems
    )
    assert lines[-1] == 'broken'
    assert 'Traceback' not in result.stderr
    (tmp_path / 'a.pth').touch()
    result = run_in(packages, 'convert', 'a.pth', 'b.pth')
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith('error: ovseg_mm needs mmengine')
    result = run_in(packages, 'models')
    assert result.returncode == 0, result.stderr
    assert 'catseg-vitb16' in result.stdout


@pytest.mark.slow
def test_without_anything(tmp_path):
    (tmp_path / 'packages').mkdir()
    result = run_in(tmp_path / 'packages', 'doctor')
    assert result.returncode == 1, result.stderr
    assert 'needs MMSegmentation 1.x' in result.stdout
    assert 'import torch fails' in result.stdout
    assert result.stdout.endswith('broken\n')
