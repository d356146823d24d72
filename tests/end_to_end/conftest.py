# SPDX-License-Identifier: Apache-2.0
"""Runs the real commands on a tiny data set."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovseg_mm.cli import main

from ..conftest import forget_runs, free_port

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name('tiny.py')
BIN = Path(sys.executable).parent
SIZES = [(80, 96), (64, 130), (101, 77), (64, 64), (90, 90)]


def write_scene(image: Path, labels: Path, size, seed: int, classes=4) -> None:
    """A picture of colour blocks, its label map beside it."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, classes, (-(-size[0] // 16), -(-size[1] // 16)))
    label = np.kron(blocks, np.ones((16, 16), int))[: size[0], : size[1]]
    colours = rng.integers(0, 200, (classes, 3))
    pixels = colours[label] + rng.integers(0, 55, (*size, 3))
    for path in (image, labels):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(image)
    Image.fromarray(label.astype(np.uint8)).save(labels)


def make_tiny_data(root: Path) -> Path:
    for split, count in (('train', 6), ('val', 5)):
        for index in range(count):
            write_scene(
                root / 'images' / split / f'{index}.jpg',
                root / 'annotations' / split / f'{index}.png',
                SIZES[index % 5],
                seed=hash((split == 'val', index)) % 1000,
            )
    return root


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory) -> Path:
    return make_tiny_data(tmp_path_factory.mktemp('data') / 'tiny')


def environment() -> dict:
    """Environment of a command: few threads, no network, a port of its own."""
    return {
        **os.environ,
        'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}',
        'OMP_NUM_THREADS': '1',
        'PORT': free_port(),
        'HF_HUB_OFFLINE': '1',
    }


def run(*command, cwd: Path, status: int | None = 0) -> str:
    """Run a command from a folder; its output, after a look at its status."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    if status is not None and result.returncode != status:
        raise AssertionError(
            f'{command} ended with {result.returncode}:\n'
            f'{result.stdout[-6000:]}'
        )
    return result.stdout


# Two ranks of a script. They are forks of a process that has imported all,
# so that the imports are paid once; torchrun pays them three times.
RANKS = """
import os
import runpy
import sys

import ovseg_mm

ranks = []
for rank in (0, 1):
    child = os.fork()
    if child == 0:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        sys.argv = sys.argv[1:]
        if sys.argv[0].endswith('.py'):
            sys.path[0] = os.path.dirname(sys.argv[0])
            runpy.run_path(sys.argv[0], run_name='__main__')
        else:
            runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
        sys.exit()
    ranks.append(child)
sys.exit(max([os.waitstatus_to_exitcode(os.waitpid(r, 0)[1]) for r in ranks]))
"""


def run_two_ranks(script, *arguments, cwd: Path, status: int = 0) -> str:
    """Run a script or module in two processes; what they printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('WORLD_SIZE', '2')
        patch.setenv('MASTER_ADDR', '127.0.0.1')
        patch.setenv('MASTER_PORT', free_port())
        command = ('python', '-c', RANKS, script, *arguments)
        return run(*command, cwd=cwd, status=status)


@pytest.fixture
def tool(monkeypatch, tmp_path, capfd):
    """Runs a script of tools/ in this process, which starts up faster.

    Gives its exit status and what it printed; an exception is printed as
    Python would at the end. The current folder is a temporary one, unless
    ``cwd`` is given.
    """
    monkeypatch.syspath_prepend(ROOT / 'tools')
    monkeypatch.chdir(tmp_path)
    # Launchers set it for good.
    monkeypatch.setenv('LOCAL_RANK', '0')

    def run_tool(name, *arguments, cwd='.'):
        monkeypatch.chdir(cwd)
        spec = importlib.util.spec_from_file_location(
            f'tools_{name}', ROOT / 'tools' / f'{name}.py'
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        return _run_here(module.main, capfd)

    return run_tool


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs ``python -m ovseg_mm COMMAND`` in this process.

    One test of each command starts a real process; the others need not
    wait for its imports. Gives the exit status and what was printed.
    """
    monkeypatch.setenv('LOCAL_RANK', '0')

    def run_command(*arguments, cwd: Path) -> tuple[int, str]:
        monkeypatch.chdir(cwd)
        return _run_here(lambda: main([*map(str, arguments)]), capfd)

    return run_command


def _run_here(call: Callable[[], int], capfd) -> tuple[int, str]:
    """Exit status of a call and what it printed, as a process would."""
    forget_runs()
    capfd.readouterr()
    try:
        status = call()
    except SystemExit as end:
        status = end.code
    except Exception:
        status = 1
        traceback.print_exc()
    printed = capfd.readouterr()
    return status, printed.out + printed.err


def data_options(root: Path) -> list[str]:
    """Options that point the tiny config to its data."""
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    return [f'{loader}.dataset.data_root={root}' for loader in loaders]


def metrics_of(output: str) -> dict[str, float]:
    """The last metrics that a test run printed."""
    line = [line for line in output.splitlines() if 'mIoU:' in line][-1]
    return {
        key: float(value)
        for key, value in re.findall(r'(\w+): (-?[\d.]+)', line)
        if key not in ('data_time', 'time')
    }


@pytest.fixture(scope='session')
def trained(tiny_data, tmp_path_factory) -> Path:
    """Work folder of a whole training run through mim."""
    folder = tmp_path_factory.mktemp('trained')
    run(
        *('mim', 'train', 'ovseg_mm', TINY, '--gpus', 0),
        *('--work-dir', folder / 'work', '--cfg-options'),
        *data_options(tiny_data),
        cwd=folder,
    )
    return folder / 'work'


def scalars_of(work_dir: Path) -> list[dict]:
    """What a run logged, a dict a line."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))
    lines = [line for f in files for line in f.read_text().splitlines()]
    return [json.loads(line) for line in lines]
