# SPDX-License-Identifier: Apache-2.0
import os
import signal

import pytest
from mmengine import fileio

from ovseg_mm.engine import AtomicBackend

from ..conftest import status_of_fork


def test_writes_and_replaces(tmp_path):
    path = tmp_path / 'new' / 'x.pth'
    for content in (b'first', memoryview(b'second')):
        AtomicBackend().put(content, path)
        assert path.read_bytes() == bytes(content)
        assert os.listdir(path.parent) == ['x.pth']


def test_mmengine_finds_it_by_name(tmp_path):
    path = tmp_path / 'x.pth'
    fileio.put(b'content', str(path), backend_args=dict(backend='atomic'))
    assert fileio.get(path, backend_args=dict(backend='atomic')) == b'content'


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / 'x.pth'
    path.write_bytes(b'old')

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        AtomicBackend().put(b'new', path)
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['x.pth']


def test_a_link_in_the_way_is_not_followed(tmp_path):
    victim = tmp_path / 'victim'
    victim.write_bytes(b'old')
    for name in ('x.pth.tmp', '.x.pth.1.tmp', 'x.pth'):
        (tmp_path / name).symlink_to(victim)
    AtomicBackend().put(b'new', tmp_path / 'x.pth')
    assert victim.read_bytes() == b'old'
    assert not (tmp_path / 'x.pth').is_symlink()
    assert (tmp_path / 'x.pth').read_bytes() == b'new'


def test_kill_leaves_the_old_file(tmp_path):
    path = tmp_path / 'x.pth'
    path.write_bytes(b'old')

    def write_and_die():
        # When the content is written but may not be on the disk yet.
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        AtomicBackend().put(b'new' * 1000, str(path))

    assert status_of_fork(write_and_die) == -signal.SIGKILL
    assert path.read_bytes() == b'old'
    AtomicBackend().put(b'next', path)
    assert path.read_bytes() == b'next'
    assert os.listdir(tmp_path) == ['x.pth'], 'the left-over is taken up'
