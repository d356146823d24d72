# SPDX-License-Identifier: Apache-2.0
import os
import time
import warnings

import pytest
import torch

from ovseg_mm.models.text_encoder import text_cache
from ovseg_mm.utils.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of its own for every test."""
    monkeypatch.setenv('OVSEG_CACHE', str(tmp_path / 'cache'))
    monkeypatch.delenv('OVSEG_CACHE_SIZE', raising=False)
    return tmp_path / 'cache' / 'text'


def keep(size):
    """Embeddings of that many bytes, kept under a name of their own."""
    digest = os.urandom(32).hex()
    text_cache.write_cache(digest, torch.zeros(size // 4), '')
    return digest


def test_the_cache_has_a_limit(cache, monkeypatch):
    monkeypatch.setenv('OVSEG_CACHE_SIZE', '0.01')  # 10,000 bytes
    now = time.time()
    first, second, third = (keep(3000) for _ in range(3))
    for age, digest in enumerate((third, second, first)):
        os.utime(cache / f'{digest}.safetensors', (now - age - 9,) * 2)
    # A use makes it the newest.
    assert text_cache.read_cache(first)[0].shape == (750,)
    fourth = keep(3000)
    left = {path.stem for path in cache.iterdir()}
    assert left == {first, third, fourth}
    assert text_cache.read_cache(second) is None
    # One that is larger than the limit drives out nothing.
    keep(12000)
    assert {path.stem for path in cache.iterdir()} == left


def test_the_cache_has_few_files(cache, monkeypatch):
    monkeypatch.setattr(text_cache, 'MAX_FILES', 3)
    for _ in range(9):
        newest = keep(8)
        assert text_cache.read_cache(newest) is not None
    assert len(list(cache.iterdir())) == 3


def test_files_of_others_stay_in_the_cache_folder(cache, monkeypatch):
    monkeypatch.setenv('OVSEG_CACHE_SIZE', '0.001')
    cache.mkdir(parents=True)
    name = f'{"ab" * 32}.safetensors'
    others = [
        *('notes.txt', 'model.safetensors', f'{"ab" * 32}.pth', f'x{name}'),
        *('.notes.tmp', f'.{name}.0123.tmp'),
    ]
    for other in others:
        (cache / other).write_bytes(bytes(5000))
        os.utime(cache / other, (9, 9))
    os.utime(cache / others[-1])  # being written by another process
    (cache / f'{"cd" * 32}.safetensors').mkdir()
    (cache / f'{"ef" * 32}.safetensors').symlink_to(cache / 'notes.txt')
    old = cache / f'.{name}.4567.tmp'  # left by a killed process
    old.write_bytes(b'')
    os.utime(old, (9, 9))
    before = {path.name for path in cache.iterdir()} - {old.name}
    keep(800)
    second = keep(800)
    after = {path.name for path in cache.iterdir()}
    assert after - before == {f'{second}.safetensors'}
    assert before <= after


def test_a_file_that_another_process_has_removed(cache, monkeypatch):
    monkeypatch.setenv('OVSEG_CACHE_SIZE', '0.001')
    keep(800)
    unlink = os.unlink

    def late(path):
        unlink(path)
        unlink(path)

    monkeypatch.setattr(os, 'unlink', late)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert text_cache.read_cache(keep(800)) is not None
    assert len(list(cache.iterdir())) == 1


def test_sizes_of_the_cache(cache, monkeypatch):
    monkeypatch.setenv('OVSEG_CACHE_SIZE', '0')
    assert text_cache.read_cache(keep(8)) is None
    assert not cache.exists()
    for size in ('many', '-1', 'nan', 'inf'):
        monkeypatch.setenv('OVSEG_CACHE_SIZE', size)
        with pytest.raises(InputError, match=f"SIZE='{size}' is not a num"):
            text_cache.read_cache('ab' * 32)
    monkeypatch.setenv('OVSEG_CACHE_SIZE', ' 1.5 ')
    assert text_cache.cache_size() == 1_500_000
    monkeypatch.delenv('OVSEG_CACHE_SIZE')
    assert text_cache.cache_size() == 1_024_000_000
