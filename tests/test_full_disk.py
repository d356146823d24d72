# SPDX-License-Identifier: Apache-2.0
"""Whatever writes a file says which one it could not write, and why."""

import os
import resource

import numpy as np
import pytest
import torch

from ovseg_mm.checkpoints import save_atomically
from ovseg_mm.datasets import write_image
from ovseg_mm.engine import AtomicBackend
from ovseg_mm.utils.paths import write_text


@pytest.fixture
def full_disk():
    """No file can grow beyond 9 KB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def checkpoint(path):
    save_atomically(dict(state_dict={'x': torch.zeros(100_000)}), path)


def training_checkpoint(path):
    AtomicBackend().put(bytes(100_000), path)


def picture(path):
    noise = np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)
    write_image(path.with_suffix('.png'), noise)


def text(path):
    write_text(path, 'word ' * 9000)


@pytest.mark.parametrize(
    'write', [checkpoint, training_checkpoint, picture, text]
)
def test_the_file_is_named(write, tmp_path, full_disk):
    with pytest.raises(OSError) as error:
        write(tmp_path / 'target')
    assert str(error.value).startswith(f'{tmp_path / "target"}')
    assert str(error.value).endswith('cannot be written: File too large')
    assert not os.listdir(tmp_path)


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises((AttributeError, RuntimeError, TypeError)) as error:
        save_atomically(lambda: None, tmp_path / 'x.pth')
    assert 'cannot be written' not in str(error.value)
    assert not os.listdir(tmp_path)
