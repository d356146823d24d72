# SPDX-License-Identifier: Apache-2.0
"""No door of MMEngine or MMSegmentation runs what a checkpoint says."""

import functools
import http.server
import os
import threading

import numpy as np
import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmseg.apis import init_model
from torch import nn

from ovseg_mm.utils.errors import InputError


class Evil:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ('touch "$OVSEG_TEST_MARK"',)


@pytest.fixture(autouse=True)
def mark(tmp_path, monkeypatch):
    """The file, which must not be there after a test."""
    path = tmp_path / 'mark'
    monkeypatch.setenv('OVSEG_TEST_MARK', str(path))
    yield
    assert not path.exists(), 'code of a checkpoint was run'


@pytest.fixture
def evil(trained_file, tmp_path):
    """A whole checkpoint with a little more in it."""
    content = torch.load(trained_file, weights_only=True)
    content['meta']['extra'] = Evil()
    folder = tmp_path / 'elsewhere'
    folder.mkdir()
    torch.save(content, folder / 'iter_2.pth')
    return folder / 'iter_2.pth'


REFUSED = r'iter_2\.pth cannot be read .*posix\.system, which'


@pytest.mark.parametrize('way', ['load_from', 'resume', 'note', 'explicit'])
def test_training(way, evil, tiny_cfg, tmp_path):
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    if way == 'load_from':
        tiny_cfg.load_from = str(evil)
    else:
        tiny_cfg.resume = True
    if way == 'resume':
        evil = evil.rename(work_dir / evil.name)
    if way in ('resume', 'note'):
        (work_dir / 'last_checkpoint').write_text(str(evil))
    runner = Runner.from_cfg(tiny_cfg)
    with pytest.raises(InputError, match=REFUSED):
        if way == 'explicit':
            runner.resume(str(evil))
        else:
            runner.train()


def test_apis(evil, tiny_cfg, tiny_data):
    with pytest.raises(InputError, match=REFUSED):
        init_model(tiny_cfg, str(evil), device='cpu')
    with pytest.raises(InputError, match=REFUSED):
        load_checkpoint(nn.Linear(1, 1), str(evil))
    with pytest.raises(InputError, match=REFUSED):
        Runner.from_cfg(tiny_cfg).load_checkpoint(str(evil))
    with pytest.raises(InputError, match=REFUSED):
        # The last step of CheckpointHook with published_keys.
        CheckpointHook(published_keys=['x'])._publish_model(None, str(evil))


@pytest.mark.parametrize('prefix', [None, 'backbone.'])
def test_init_cfg(prefix, evil):
    init_cfg = dict(type='Pretrained', checkpoint=str(evil), prefix=prefix)
    with pytest.raises(InputError, match=REFUSED):
        BaseModule(init_cfg).init_weights()


@pytest.fixture
def server(evil):
    """URL of the folder of the file."""
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=evil.parent
    )
    handler.log_message = lambda *args: None
    with http.server.HTTPServer(('127.0.0.1', 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{web.server_port}'
        web.shutdown()


def test_urls(server, evil, tmp_path, monkeypatch):
    from ovseg_mm.engine import checkpoint_loader

    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    url = f'{server}/iter_2.pth'
    for names in ('torchvision_models', 'external_models', 'mmcls_models'):
        monkeypatch.setattr(
            checkpoint_loader, f'get_{names}', lambda: {'x': url}
        )
    schemes = ('modelzoo', 'torchvision', 'open-mmlab', 'openmmlab', 'mmcls')
    for name in (url, *(f'{scheme}://x' for scheme in schemes)):
        with pytest.raises(InputError, match=REFUSED):
            CheckpointLoader.load_checkpoint(name)
    # Files of a mirror on this machine, and of an object store.
    monkeypatch.setenv('MMENGINE_HOME', str(evil.parent))
    monkeypatch.setattr(
        checkpoint_loader, 'get_external_models', lambda: {'x': evil.name}
    )
    with pytest.raises(InputError, match=REFUSED):
        CheckpointLoader.load_checkpoint('openmmlab://x')

    class Store:
        def get(self, name):
            return evil.read_bytes()

    monkeypatch.setattr(
        checkpoint_loader, 'get_file_backend', lambda *_, **__: Store()
    )
    for name in ('s3://a/iter_2.pth', 'mmlab:s3://a/iter_2.pth'):
        with pytest.raises(InputError, match=REFUSED):
            CheckpointLoader.load_checkpoint(name)


def test_sound_files_of_urls(server, evil, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    torch.save({'x': torch.ones(2)}, evil.with_name('good.pth'))
    url = f'{server}/good.pth?download=1'
    for _ in range(2):
        content = CheckpointLoader.load_checkpoint(url)
        assert torch.equal(content['x'], torch.ones(2))
        # The second time it comes from the cache.
        evil.with_name('good.pth').unlink(missing_ok=True)
    assert os.listdir(tmp_path / 'hub' / 'checkpoints') == ['good.pth']


def test_text_in_a_checkpoint_is_not_run(trained, tiny_cfg):
    """MMEngine runs ``meta['config']`` as Python when a run is resumed."""
    content = torch.load(trained, weights_only=True)
    content['meta']['config'] = (
        'import os\nos.system(\'touch "$OVSEG_TEST_MARK"\')\nx = 1\n'
    )
    torch.save(content, trained)
    tiny_cfg.resume = True
    runner = Runner.from_cfg(tiny_cfg)
    runner.call_hook('before_run')
    runner.load_or_resume()
    assert runner.iter == 2


def test_runs_without_our_hooks_are_resumed(tiny_cfg, tmp_path):
    """MMEngine's own checkpoints hold histories and numbers of NumPy."""
    tiny_cfg.custom_hooks = []
    tiny_cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, end=4, by_epoch=False),
        dict(type='PolyLR', power=0.9, begin=4, end=9, by_epoch=False),
    ]
    runner = Runner.from_cfg(tiny_cfg)
    runner.message_hub.update_info('best', np.float32(0.25))
    runner.train()
    before = runner.message_hub.get_scalar('train/loss')
    saved = tmp_path / 'work' / 'iter_2.pth'
    states = runner.optim_wrapper.state_dict()['state']
    MessageHub._instance_dict.clear()
    tiny_cfg.resume, tiny_cfg.load_from = True, str(saved)
    tiny_cfg.train_cfg.max_iters = 3
    resumed = Runner.from_cfg(tiny_cfg)
    resumed.load_or_resume()
    assert resumed.iter == 2
    history = resumed.message_hub.get_scalar('train/loss')
    assert type(history) is HistoryBuffer
    assert history.data[0].tolist() == before.data[0].tolist()
    assert history.data[1].tolist() == before.data[1].tolist()
    assert history.statistics('mean') == before.mean()
    assert resumed.message_hub.get_info('best') == np.float32(0.25)
    found = resumed.optim_wrapper.state_dict()['state']
    assert found.keys() == states.keys() and found
    for index, state in states.items():
        for key, value in state.items():
            assert torch.equal(found[index][key], value)
    resumed.train()
    assert (tmp_path / 'work' / 'iter_3.pth').is_file()


def test_other_kinds_of_files(tmp_path):
    from safetensors.torch import save_file

    save_file({'x': torch.ones(2)}, tmp_path / 'x.safetensors')
    content = CheckpointLoader.load_checkpoint(str(tmp_path / 'x.safetensors'))
    assert torch.equal(content['x'], torch.ones(2))
    with pytest.raises(FileNotFoundError, match=r'gone\.pth does not exist'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'gone.pth'))
    with pytest.raises(InputError, match='is a web page'):
        (tmp_path / 'page.pth').write_text('<!DOCTYPE html>')
        CheckpointLoader.load_checkpoint(str(tmp_path / 'page.pth'))
