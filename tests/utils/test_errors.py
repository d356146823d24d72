# SPDX-License-Identifier: Apache-2.0
"""Messages stay short, and ``OVSEG_DEBUG`` and ``--debug`` work everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovseg_mm.cli import COMMANDS, main
from ovseg_mm.datasets.preparation import PascalVOC
from ovseg_mm.datasets.preparation import main as prepare
from ovseg_mm.models.text_encoder import tokenize_prompts
from ovseg_mm.utils import errors
from ovseg_mm.utils.errors import InputError, error_message, shortened

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """``--debug`` sets the variable of the process; the test forgets it."""
    monkeypatch.setenv('OVSEG_DEBUG', '0')


def test_short_messages_stay_as_they_are():
    message = "'a b' isn't in the folder's list: 'x', \"it's\"; " * 20
    assert shortened(message) == message


@pytest.mark.parametrize(
    'long', ['a' * 5000, repr('word ' * 1000), repr("it's " * 1000)]
)
def test_long_quotes_are_cut(long):
    error = InputError(f'{long} is not a file; give another one')
    for text in (str(error), error_message(FileNotFoundError(str(error)))):
        assert len(text) < 250
        assert text.startswith(long[:80])
        assert text.endswith(f'{long[-40:]} is not a file; give another one')


def test_long_lists_are_cut_in_the_middle():
    names = ', '.join(f'name {i}' for i in range(1000))
    text = shortened(f'x.json has {names}; expected one class')
    assert len(text) < errors.LONGEST_MESSAGE
    assert text.startswith('x.json has name 0, name 1')
    assert text.endswith('name 999; expected one class')


def test_warning_of_a_long_prompt_is_short():
    with pytest.warns(UserWarning, match='are truncated') as caught:
        tokenize_prompts(['word ' * 1000], 9)
    assert len(str(caught[0].message)) < 300


def test_errors_of_other_processes_keep_their_traceback():
    text = 'Caught InputError in DataLoader worker process 0.\n'
    text += 'frame\n' * 1000 + 'InputError: x.png is damaged'
    error = InputError(text)
    assert str(error) == text
    assert error_message(error) == 'x.png is damaged'


@pytest.mark.parametrize(
    'error',
    [InputError('a.png is damaged'), OSError('a.png is damaged')]
    + [ImportError('a.png is damaged')],
)
def test_input_errors_are_one_line(error, capsys, monkeypatch):
    with pytest.raises(SystemExit) as end, errors.report_errors():
        raise error
    assert end.value.code == 2
    assert capsys.readouterr().err == 'error: a.png is damaged\n'
    monkeypatch.setenv('OVSEG_DEBUG', '1')
    with pytest.raises(type(error)), errors.report_errors():
        raise error


@pytest.mark.parametrize('kind', [ValueError, KeyError, RuntimeError])
def test_bugs_keep_their_traceback(kind, capsys):
    with pytest.raises(kind), errors.report_errors():
        raise kind('a bug')
    assert not capsys.readouterr().err


def test_commands_do_not_repeat_long_arguments(capsys):
    for arguments in (['x' * 5000], ['convert', 'y' * 5000, 'z.pth']):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
        assert status == 2
        lines = capsys.readouterr().err.splitlines()
        assert 'characters' in lines[-1] and len(lines[-1]) < 600


@pytest.mark.parametrize('value, raised', [('1', True), ('0', False)])
def test_variable_shows_where_an_error_came_from(monkeypatch, value, raised):
    monkeypatch.setenv('OVSEG_DEBUG', value)
    for run in (
        lambda: main(['convert', 'gone.pth', 'x.pth']),
        lambda: prepare(PascalVOC(), ['gone', '--workers', '1']),
    ):
        if raised:
            with pytest.raises(FileNotFoundError):
                run()
        else:
            assert run() == 2


@pytest.mark.parametrize(
    'arguments',
    [
        ['--debug', 'convert', 'gone.pth', 'x.pth'],
        ['convert', '--debug', 'gone.pth', 'x.pth'],
        ['convert', 'gone.pth', 'x.pth', '--debug'],
    ],
)
def test_option_shows_where_an_error_came_from(arguments):
    with pytest.raises(FileNotFoundError):
        main(arguments)
    assert os.environ['OVSEG_DEBUG'] == '1', 'other processes inherit it'


def test_preparations_have_the_option():
    with pytest.raises(FileNotFoundError):
        prepare(PascalVOC(), ['gone', '--debug', '--workers', '1'])


@pytest.mark.parametrize('command', COMMANDS)
def test_commands_have_the_option(command, capsys):
    with pytest.raises(SystemExit):
        main([command, '-h'])
    assert '--debug' in capsys.readouterr().out


# Builds the parser of a script, which takes no stack, and gives it the option.
PARSE = """
import argparse, os, runpy, sys
def parse_args(parser, *args):
    option, = (a for a in parser._actions if a.dest == 'debug')
    option(parser, None, None)
    print(os.environ['OVSEG_DEBUG'])
    sys.exit()
argparse.ArgumentParser.parse_args = parse_args
sys.path.insert(0, os.path.dirname(sys.argv[1]))
runpy.run_path(sys.argv[1], run_name='__main__')
"""


# A module of the tools, and an example that does without the package.
OTHERS = ('common_options', 'onnx_example')


@pytest.mark.parametrize(
    'tool',
    [
        *(p.name for p in TOOLS.glob('*.py') if p.stem not in OTHERS),
        'dataset_converters/toy_world.py',
    ],
)
def test_tools_have_the_option(tool):
    result = subprocess.run(
        [sys.executable, '-c', PARSE, TOOLS / tool],
        capture_output=True,
        text=True,
    )
    assert result.stdout == '1\n', result.stderr
