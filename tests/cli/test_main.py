# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest

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
