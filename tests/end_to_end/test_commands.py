# SPDX-License-Identifier: Apache-2.0
import os
import re
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from PIL import Image

from .conftest import (
    ROOT,
    TINY,
    data_options,
    environment,
    metrics_of,
    run,
    scalars_of,
)

pytestmark = pytest.mark.slow


def mim_test(
    trained, tiny_data, cwd, *options, package='ovseg_mm', words=None
):
    return run(
        *('mim', 'test', package, TINY),
        *('--checkpoint', trained / 'iter_8.pth', '--gpus', 0),
        *('--work-dir', cwd / 'test', *options, '--cfg-options'),
        *data_options(tiny_data),
        *[
            f'{key}.vocabulary={words}'
            for key in ('model', 'test_dataloader.dataset')
            if words
        ],
        cwd=cwd,
    )


@pytest.fixture(scope='module')
def plain(trained, tiny_data, tmp_path_factory) -> dict[str, float]:
    """Metrics of one ordinary test."""
    folder = tmp_path_factory.mktemp('plain')
    return metrics_of(mim_test(trained, tiny_data, folder))


def test_training_writes_checkpoints_and_validates(trained):
    assert (trained / 'iter_8.pth').is_file()
    assert not (trained / 'iter_4.pth').exists(), 'two checkpoints are kept'
    logged = scalars_of(trained)
    assert any('loss' in line for line in logged)
    assert any('mIoU' in line for line in logged)


def test_mim_test_draws_every_image_and_writes_labels(
    trained, tiny_data, tmp_path
):
    output = mim_test(
        trained,
        tiny_data,
        tmp_path,
        '--show-dir',
        tmp_path / 'show',
        '--out',
        tmp_path / 'out',
        words=['red square', 'pale green disc', 'blue|navy', 'grass'],
    )
    # mim hands options on as they are.
    assert '| pale green disc |' in output
    assert 0 <= metrics_of(output)['mIoU'] <= 100
    pictures = sorted((tmp_path / 'show').rglob('*.png'))
    assert len(pictures) == 5
    for picture in pictures:
        assert np.asarray(Image.open(picture)).std() > 5, 'it is blank'
    labels = sorted((tmp_path / 'out').glob('*.png'))
    assert len(labels) == 5
    for path in labels:
        image = Image.open(tiny_data / 'images' / 'val' / f'{path.stem}.jpg')
        assert Image.open(path).size == image.size
        assert np.asarray(Image.open(path)).max() < 4


def test_two_processes_give_the_metrics_of_one(
    trained, plain, tiny_data, tmp_path
):
    two = run(
        *('mim', 'test', 'ovseg_mm', TINY),
        *('--checkpoint', trained / 'iter_8.pth'),
        *('--launcher', 'pytorch', '--gpus', 2),
        *('--work-dir', tmp_path / 'two', '--cfg-options'),
        *data_options(tiny_data),
        cwd=tmp_path,
    )
    assert metrics_of(two) == plain


def test_mmsegmentation_as_package(trained, plain, tiny_data, tmp_path):
    other = mim_test(trained, tiny_data, tmp_path, package='mmsegmentation')
    assert metrics_of(other) == plain


def test_augmented_test(trained, plain, tool, tiny_data, tmp_path):
    status, output = tool(
        *('test', TINY, trained / 'iter_8.pth', '--tta'),
        *('--work-dir', tmp_path / 'test', '--cfg-options'),
        *data_options(tiny_data),
    )
    assert status == 0, output
    augmented = metrics_of(output)
    assert augmented.keys() == plain.keys()
    assert augmented != plain


# Each process tells its weights when it has trained.
TELL = """
import os
import re
from pathlib import Path
from mmengine.runner import Runner

train = Runner.train

def train_and_tell(runner):
    model = train(runner)
    sums = {n: float(p.double().sum()) for n, p in model.named_parameters()}
    Path('weights_' + os.environ['RANK']).write_text(repr(sums))

Runner.train = train_and_tell
"""


def test_two_training_processes_end_with_equal_weights(
    tiny_data, tmp_path, monkeypatch
):
    (tmp_path / 'tell.py').write_text(TELL)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = ['{TINY}']\n"
        "custom_imports = dict(imports=['ovseg_mm', 'tell'])\n"
    )
    run(
        *('mim', 'train', 'ovseg_mm', config),
        *('--launcher', 'pytorch', '--gpus', 2),
        *('--work-dir', tmp_path / 'work', '--amp', '--cfg-options'),
        *(*data_options(tiny_data), 'train_cfg.max_iters=2'),
        'train_cfg.val_interval=2',
        cwd=tmp_path,
    )
    first, second = (
        (tmp_path / f'weights_{rank}').read_text() for rank in (0, 1)
    )
    assert first == second
    checkpoint = tmp_path / 'work' / 'iter_2.pth'
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    assert all(torch.isfinite(value).all() for value in weights.values())
    name = 'decode_head.head.weight'
    assert repr(float(weights[name].double().sum())) in first


def test_killed_training_resumes(tool, tiny_data, tmp_path):
    command = [
        *('mim', 'train', 'ovseg_mm', TINY, '--gpus', 0),
        *('--work-dir', tmp_path / 'work', '--resume', '--cfg-options'),
        *(*data_options(tiny_data), 'train_cfg.max_iters=60'),
        'train_cfg.val_interval=60',
    ]
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=tmp_path,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 300
    while not (tmp_path / 'work' / 'iter_4.pth').exists():
        assert process.poll() is None, 'training ended too early'
        assert time.time() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    last = (tmp_path / 'work' / 'last_checkpoint').read_text().strip()
    written = int(last.rsplit('_', 1)[1].removesuffix('.pth'))
    status, output = tool(
        *('train', TINY, '--work-dir', tmp_path / 'work', '--resume'),
        *command[command.index('--cfg-options') :],
    )
    assert status == 0, output
    # A process that is killed while it writes may finish one more checkpoint.
    begun = int(re.search(r'resumed epoch: 0, iter: (\d+)', output)[1])
    assert 4 <= written <= begun <= written + 2 < 60
    assert (tmp_path / 'work' / 'iter_60.pth').is_file()
    steps = [line['step'] for line in scalars_of(tmp_path / 'work')]
    assert max(steps) == 60


def test_scripts_run_without_mim(trained, plain, tiny_data, tmp_path):
    output = run(
        'bash',
        ROOT / 'tools' / 'dist_test.sh',
        TINY,
        trained / 'iter_8.pth',
        1,
        *('--work-dir', tmp_path, '--cfg-options', *data_options(tiny_data)),
        cwd=tmp_path,
    )
    assert metrics_of(output) == plain


def test_predict_with_words_of_the_command_line(trained, tiny_data, tmp_path):
    image = tiny_data / 'images' / 'val' / '1.jpg'
    output = run(
        *('python', '-m', 'ovseg_mm', 'predict', image, '--config', TINY),
        *('--checkpoint', trained / 'iter_8.pth', '--out', tmp_path / 'out'),
        *('--classes', 'a crimson thing; sea|ocean; moss'),
        cwd=tmp_path,
    )
    assert '1_overlay.png' in output
    labels = np.asarray(Image.open(tmp_path / 'out' / '1_labels.png'))
    assert labels.shape == (64, 130)
    assert set(np.unique(labels)) <= {0, 1, 2}
    overlay = np.asarray(Image.open(tmp_path / 'out' / '1_overlay.png'))
    assert overlay.std() > 5
