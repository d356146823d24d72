# SPDX-License-Identifier: Apache-2.0
import socket

import pytest

from ovseg_mm.cli import main, web


def error_of(capsys, *options):
    assert main(['web', '--model', 'toy', *options]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_gradio_is_an_extra(monkeypatch, capsys):
    monkeypatch.setattr(web.importlib.util, 'find_spec', lambda name: None)
    assert "pip install 'ovseg_mm[web]'" in error_of(capsys)


def test_ports_that_cannot_be_used(capsys):
    pytest.importorskip('gradio')
    assert '--port 70000' in error_of(capsys, '--port', '70000')
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = error_of(capsys, '--port', str(port))
    assert f'127.0.0.1:{port}' in error and '--port' in error
