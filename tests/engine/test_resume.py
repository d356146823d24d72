# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.runner import Runner

from ovseg_mm.engine.resume import find_start
from ovseg_mm.errors import InputError


@pytest.fixture
def work_dir(tmp_path):
    """Three checkpoints, of which the last one is named as such."""
    for number in (8, 9, 10):
        path = tmp_path / f'iter_{number}.pth'
        torch.save(dict(state_dict=dict(x=torch.ones(2000))), path)
    (tmp_path / 'last_checkpoint').write_text(str(path))
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[:4000])


def test_a_whole_checkpoint_is_resumed(work_dir):
    last = str(work_dir / 'iter_10.pth')
    assert find_start(str(work_dir), 'first_stage.pth') == (last, True)


def test_of_damaged_ones_the_newest_whole_is_named(work_dir):
    cut(work_dir / 'iter_10.pth')
    with pytest.raises(InputError) as error:
        find_start(str(work_dir), None)
    message = str(error.value)
    assert f'{work_dir / "iter_10.pth"} is cut short' in message
    assert f'whole one is {work_dir / "iter_9.pth"}; to continue' in message
    assert f'write its path into {work_dir / "last_checkpoint"}' in message
    # What the message says works.
    whole = str(work_dir / 'iter_9.pth')
    (work_dir / 'last_checkpoint').write_text(whole)
    assert find_start(str(work_dir), None) == (whole, True)


@pytest.mark.parametrize('content', ['gone.pth', ''])
def test_a_checkpoint_that_is_not_there(work_dir, content):
    (work_dir / 'last_checkpoint').write_text(content)
    with pytest.raises(InputError, match='iter_10.pth; to continue'):
        find_start(str(work_dir), None)


def test_none_is_whole(work_dir):
    for number in (8, 9, 10):
        cut(work_dir / f'iter_{number}.pth')
    with pytest.raises(InputError, match='last_checkpoint to begin anew'):
        find_start(str(work_dir), None)


def test_scripts_of_mmsegmentation_refuse_it_too(trained, tiny_cfg):
    cut(trained)
    tiny_cfg.resume = True
    tiny_cfg.train_cfg.max_iters = 4
    with pytest.raises(InputError, match=f'{trained} is cut short'):
        Runner.from_cfg(tiny_cfg).train()
