# SPDX-License-Identifier: Apache-2.0
import re
import subprocess
import sys

import pytest

import ovseg_mm
from ovseg_mm.cli import COMMANDS, main


def test_no_command_prints_the_commands(capsys):
    assert main([]) == 2
    printed = capsys.readouterr().out
    for command in COMMANDS:
        assert f'\n    {command} ' in printed


def test_wrong_command_names_the_right_ones(capsys):
    with pytest.raises(SystemExit) as end:
        main(['segment'])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "'segment'" in error
    assert all(command in error for command in COMMANDS)


@pytest.mark.parametrize(
    ('argv', 'orig_argv', 'own'),
    [
        (['-m', 'doctor'], ['python', '-m', 'ovseg_mm', 'doctor'], True),
        (['-m'], ['python', '-u', '-m', 'ovseg_mm'], True),
        (['-m', 'x'], ['python', '-movseg_mm', 'x'], True),
        (['-m'], ['python', '-m', 'somebody.train'], False),
        (['-m', 'ovseg_mm'], ['python', '-m', 'train', 'ovseg_mm'], False),
        (['-m'], ['python', '-m', 'ovseg_mm.toy'], False),
        (['-c'], ['python', '-c', 'import ovseg_mm'], False),
        (['train.py', '-m'], ['python', 'train.py', '-m'], False),
        ([], [], False),
    ],
)
def test_own_commands_alone_register_later(monkeypatch, argv, orig_argv, own):
    monkeypatch.setattr(sys, 'argv', argv)
    monkeypatch.setattr(sys, 'orig_argv', orig_argv)
    assert ovseg_mm._is_own_command() == own


@pytest.mark.slow
def test_modules_of_others_find_everything_registered(tmp_path):
    package = tmp_path / 'somebody'
    package.mkdir()
    # The package is imported while Python still looks for its module.
    (package / '__init__.py').write_text('import ovseg_mm\n')
    (package / 'train.py').write_text(
        'from mmseg.registry import MODELS\n'
        "print('CLIPViT' in MODELS, 'OpenVocabSegmentor' in MODELS)\n"
    )
    result = subprocess.run(
        [sys.executable, '-m', 'somebody.train', 'ovseg_mm'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stdout == 'True True\n', result.stderr


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ('--help', 'usage: '),
        ('predict --help', 'usage: '),
        ('convert --help', 'usage: '),
        ('models', 'catseg-vitb16'),
        ('segment', "invalid choice: 'segment'"),
        ('evaluate none --datasets ade150', 'none'),
        ('evaluate {model} --datasets ade15', 'neither a benchmark'),
        ('convert gone.pth ours.pth', 'gone.pth does not exist'),
        ('convert {here} none/ours.pth', 'none does not exist'),
        ('predict gone.jpg --config scan --classes x', 'gone.jpg'),
        ('predict {here} --config none --classes x', 'there is no such model'),
        ('predict {here} --config {model} --classes red,blue', 'has a comma'),
        ('predict {here} --config {model} --classes w.txt', 'w.txt'),
    ],
)
def test_nothing_slow_is_imported_for_an_answer(tmp_path, arguments, words):
    here, model = tmp_path / 'a.jpg', tmp_path / 'model.py'
    here.touch()
    model.touch()
    result = subprocess.run(
        [sys.executable, '-X', 'importtime', '-m', 'ovseg_mm']
        + arguments.format(here=here, model=model).split(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert words in result.stdout + result.stderr
    imported = set(re.findall(r'\| +([\w.]+)$', result.stderr, re.M))
    assert 'argparse' in imported
    assert not imported & {'torch', 'mmengine', 'cv2', 'scipy', 'matplotlib'}


@pytest.mark.slow
def test_as_a_module(tmp_path):
    result = subprocess.run(
        [sys.executable, '-m', 'ovseg_mm'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert 'usage: python -m ovseg_mm' in result.stdout
    assert not result.stderr


def test_interrupt_needs_no_traceback(monkeypatch, capsys):
    def run(args):
        raise KeyboardInterrupt

    monkeypatch.setattr('ovseg_mm.cli.models.run', run)
    assert main(['models']) == 130
    assert capsys.readouterr().err == 'interrupted\n'
