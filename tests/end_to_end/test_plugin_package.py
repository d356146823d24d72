# SPDX-License-Identifier: Apache-2.0
"""The package of docs/add_a_method.md, outside of the repository.

It brings two methods, a layout, a vocabulary and configs, and goes through
all public commands.
"""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ovseg_mm.cli import main

from .conftest import ROOT, environment, make_tiny_data, metrics_of, run

PAGE = ROOT / 'docs' / 'add_a_method.md'
# A file: its path on a line of its own, then its content as a block.
FILES = re.compile(r'^`([\w/]+\.\w+)`:\n\n```\w+\n(.*?)^```', re.S | re.M)
LAST = 40

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A folder with the package and its data, both found by commands."""
    root = tmp_path_factory.mktemp('home')
    make_tiny_data(root / 'data' / 'acme')
    files = dict(FILES.findall(PAGE.read_text(encoding='utf-8')))
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', str(root))
        yield root


@pytest.fixture
def here(home, monkeypatch, tool):
    """The same for commands that run in this process, tools among them."""
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(home)
    return home


@pytest.fixture(scope='module')
def checkpoint(home):
    """Checkpoint of a training that was killed and resumed."""
    command = (
        *('mim', 'train', 'ovseg_mm', 'acme_seg/adapter.py', '--gpus', '0'),
        *('--work-dir', 'work', '--resume'),
    )
    process = subprocess.Popen(
        command,
        cwd=home,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 300
    while not (home / 'work' / 'last_checkpoint').exists():
        assert process.poll() is None, 'training ended too early'
        assert time.time() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    note = (home / 'work' / 'last_checkpoint').read_text()
    begun = int(re.search(r'iter_(\d+)\.pth', note)[1])
    assert 0 < begun < LAST
    output = run(*command, cwd=home)
    assert f'iter: {begun}' in output and 'resumed' in output
    return home / 'work' / f'iter_{LAST}.pth'


@pytest.fixture(scope='module')
def foreign(checkpoint):
    """The trained weights under the names of the foreign method."""
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    renames = {
        'backbone.': 'clip.visual.',
        'text_encoder.': 'clip.',
        'decode_head.adapter.': 'adapter.linear.',
    }
    renamed = {'clip.logit_scale': torch.tensor(4.6)}
    for name, tensor in weights.items():
        ours = next(prefix for prefix in renames if name.startswith(prefix))
        renamed[renames[ours] + name.removeprefix(ours)] = tensor
    path = checkpoint.parents[1] / 'foreign.pth'
    torch.save(dict(model=renamed), path)
    return path


def test_the_page_has_all_files(home):
    found = {path.name for path in (home / 'acme_seg').iterdir()}
    assert {'__init__.py', 'heads.py', 'layouts.py', 'words.txt'} <= found
    assert {'base.py', 'adapter.py', 'smooth.py'} <= found


def test_only_the_head_is_trained(checkpoint):
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    assert weights['decode_head.adapter.weight'].shape == (64, 64, 1, 1)


def test_own_and_foreign_checkpoints_are_the_same_model(
    here, tool, checkpoint, foreign
):
    metrics = []
    for path in (checkpoint, foreign):
        status, printed = tool(
            *('test', 'acme_seg/adapter.py', path, '--work-dir', 'test')
        )
        assert status == 0, printed
        metrics.append(metrics_of(printed))
    assert metrics[0] == metrics[1]
    assert metrics[0]['mIoU'] > 0


def test_foreign_checkpoint_is_converted(here, foreign, capfd):
    config = 'acme_seg/adapter.py'
    command = ['convert', str(foreign), 'ours.pth', '--config', config]
    assert main(command) == 0, capfd.readouterr().err
    assert '(Adapter, layout acme_adapter)' in capfd.readouterr().out
    meta = torch.load('ours.pth', weights_only=True)['meta']
    assert meta['dataset_meta']['classes'][1] == 'green disc'


def evaluated(config: str, *checkpoint: str) -> dict:
    """Result of ``evaluate`` on the data of the config."""
    folder = Path('evaluate', Path(config).stem)
    command = ('evaluate', config, *checkpoint, '--datasets', config)
    assert main([*command, '--work-dir', str(folder)]) == 0
    (row,) = json.loads((folder / 'results.json').read_text())['results']
    assert row['images'] == 5
    return row['metrics']


def test_predict_and_evaluate(here, checkpoint):
    output = run(
        *('python', '-m', 'ovseg_mm', 'predict', 'data/acme/images/val/1.jpg'),
        *('--config', 'acme_seg/adapter.py', '--checkpoint', checkpoint),
        *('--classes', 'acme_seg/words.txt', '--out', 'adapter'),
        cwd=here,
    )
    assert '1_overlay.png' in output
    labels = np.asarray(Image.open('adapter/1_labels.png'))
    assert labels.shape == (64, 130) and labels.max() < 4
    assert evaluated('acme_seg/adapter.py', str(checkpoint))['mIoU'] > 0


def test_method_without_checkpoint(here, capfd):
    output = run(
        *('mim', 'test', 'ovseg_mm', 'acme_seg/smooth.py', '--gpus', 0),
        *('--checkpoint', 'none', '--work-dir', 'smooth'),
        cwd=here,
    )
    assert "loaded CLIP's weights, no checkpoint" in output
    tested = metrics_of(output)['mIoU']
    found = evaluated('acme_seg/smooth.py')['mIoU']
    assert found == pytest.approx(tested, abs=0.01)
    command = (
        *('predict', 'data/acme/images/val/1.jpg', '--out', 'smooth'),
        *('--config', 'acme_seg/smooth.py', '--classes', 'grass; sky'),
    )
    assert main(list(command)) == 0, capfd.readouterr().err
    assert Path('smooth/1_overlay.png').is_file()


def test_method_with_parameters_needs_a_checkpoint(here, tool):
    status, printed = tool('test', 'acme_seg/adapter.py')
    assert status == 2
    assert printed.splitlines()[-1] == (
        'error: the model needs a checkpoint: 2 parameters such as '
        'decode_head.adapter.weight are neither in the weights that '
        'model.clip names nor in the weights of an init_cfg; give the path '
        'of a checkpoint'
    )
