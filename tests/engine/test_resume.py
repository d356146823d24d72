# SPDX-License-Identifier: Apache-2.0
import logging
import os
import signal

import pytest
import torch
from mmengine.hooks import checkpoint_hook
from mmengine.runner import Runner

from ovseg_mm.engine.resume import find_starting_checkpoint
from ovseg_mm.utils.errors import InputError

from ..conftest import status_of_fork


@pytest.fixture
def work_dir(tmp_path):
    """Three checkpoints, of which the last one is named as such."""
    for number in (8, 9, 10):
        path = tmp_path / f'iter_{number}.pth'
        torch.save(dict(state_dict=dict(x=torch.ones(2000))), path)
    (tmp_path / 'last_checkpoint').write_text(str(path))
    return tmp_path


@pytest.fixture
def warnings(monkeypatch):
    """Warnings of MMEngine's log."""
    from ovseg_mm.engine import resume

    texts = []

    def print_log(text, logger, level):
        assert level == logging.WARNING
        texts.append(text)

    monkeypatch.setattr(resume, 'print_log', print_log)
    return texts


def cut(path):
    path.write_bytes(path.read_bytes()[:4000])


def test_a_whole_checkpoint_is_resumed(work_dir, warnings):
    last = str(work_dir / 'iter_10.pth')
    assert find_starting_checkpoint(str(work_dir), 'first_stage.pth') == (
        last,
        True,
    )
    (work_dir / 'last_checkpoint').write_text(f'{work_dir / "iter_8.pth"}\n')
    last = str(work_dir / 'iter_8.pth')
    assert find_starting_checkpoint(str(work_dir), None) == (last, True)
    assert not warnings


def test_a_new_folder_starts_with_load_from(tmp_path):
    found = find_starting_checkpoint(str(tmp_path), 'first_stage.pth')
    assert found == ('first_stage.pth', False)


def test_of_damaged_ones_the_newest_whole_is_resumed(work_dir, warnings):
    cut(work_dir / 'iter_10.pth')
    whole = str(work_dir / 'iter_9.pth')
    assert find_starting_checkpoint(str(work_dir), None) == (whole, True)
    (warning,) = warnings
    assert f'{work_dir / "iter_10.pth"} is cut short' in warning
    assert f'resuming from {whole}, the newest undamaged checkpoint' in warning


@pytest.mark.parametrize(
    'content',
    [
        *(b'', b' \n', b'gone.pth', b'\xff\xfe\x00', b'a\x00b', b'a\nb'),
        b'/proc/self/mem/x',
    ],
)
def test_a_note_that_names_no_checkpoint(work_dir, content, warnings):
    (work_dir / 'last_checkpoint').write_bytes(content)
    found = find_starting_checkpoint(str(work_dir), None)
    assert found == (str(work_dir / 'iter_10.pth'), True)
    assert len(warnings) == 1


def test_a_note_that_is_a_folder(work_dir, warnings):
    (work_dir / 'last_checkpoint').unlink()
    (work_dir / 'last_checkpoint').mkdir()
    found = find_starting_checkpoint(str(work_dir), None)
    assert found == (str(work_dir / 'iter_10.pth'), True)


def test_none_is_whole(work_dir):
    for number in (8, 9, 10):
        cut(work_dir / f'iter_{number}.pth')
    with pytest.raises(InputError, match='last_checkpoint to start from the'):
        find_starting_checkpoint(str(work_dir), None)


def test_scripts_of_mmsegmentation_pass_it_over_too(trained, tiny_cfg):
    damaged = trained.with_name('iter_3.pth')
    damaged.write_bytes(trained.read_bytes()[:4000])
    trained.with_name('last_checkpoint').write_text(str(damaged))
    tiny_cfg.resume = True
    runner = Runner.from_cfg(tiny_cfg)
    runner.call_hook('before_run')
    runner.load_or_resume()
    assert runner.iter == 2


@pytest.mark.parametrize('spoil', [b'', b'old.pth'])
def test_a_kill_leaves_the_note_whole(tmp_path, spoil):
    """A process that dies while it writes the note of its checkpoint."""
    note = tmp_path / 'last_checkpoint'
    if spoil:
        note.write_bytes(spoil)

    def write_and_die():
        with checkpoint_hook.open(str(note), 'w') as file:
            file.write('new.pth')
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    assert status_of_fork(write_and_die) == -signal.SIGKILL
    assert (note.read_bytes() if note.exists() else b'') == spoil


def test_training_writes_the_note(trained_file):
    folder = trained_file.parent
    assert (folder / 'last_checkpoint').read_text() == str(trained_file)
    assert not [name for name in os.listdir(folder) if name.endswith('.tmp')]
