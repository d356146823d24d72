# SPDX-License-Identifier: Apache-2.0
"""The shell scripts hand the right command to the launcher."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / 'tools'


@pytest.fixture
def launch(tmp_path):
    """Runs a script with launchers that only print their arguments."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name in ('srun', 'torchrun'):
        fake = folder / name
        fake.write_text('#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n')
        fake.chmod(0o755)

    def run(script, *arguments, status=0, **variables):
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(('GPUS', 'SRUN', 'NODE', 'MASTER', 'PORT'))
        }
        result = subprocess.run(
            ['bash', TOOLS / f'{script}.sh', *arguments],
            cwd=tmp_path,
            env={
                **inherited,
                'PATH': f'{folder}{os.pathsep}{os.environ["PATH"]}',
                **variables,
            },
            capture_output=True,
            text=True,
        )
        assert result.returncode == status, result.stderr
        return (result.stdout or result.stderr).splitlines()

    return run


def test_slurm_train(launch):
    assert launch(
        *('slurm_train', 'night', 'job 1', 'my config.py'),
        *('--amp', '--cfg-options', 'a=[1, 2]'),
    ) == [
        *('srun', '-p', 'night', '--job-name=job 1', '--gres=gpu:4'),
        *('--ntasks=4', '--ntasks-per-node=4', '--cpus-per-task=5'),
        *('--kill-on-bad-exit=1', 'python', '-u', f'{TOOLS}/train.py'),
        *('my config.py', '--launcher', 'slurm'),
        *('--amp', '--cfg-options', 'a=[1, 2]'),
    ]


def test_slurm_test_with_variables(launch):
    assert launch(
        *('slurm_test', 'night', 'job', 'config.py', 'iter 1.pth'),
        GPUS='2',
        CPUS_PER_TASK='3',
        SRUN_ARGS='--qos=low --exclude=node1',
    ) == [
        *('srun', '-p', 'night', '--job-name=job', '--gres=gpu:2'),
        *('--ntasks=2', '--ntasks-per-node=2', '--cpus-per-task=3'),
        *('--kill-on-bad-exit=1', '--qos=low', '--exclude=node1'),
        *('python', '-u', f'{TOOLS}/test.py', 'config.py', 'iter 1.pth'),
        *('--launcher', 'slurm'),
    ]


def test_several_machines(launch):
    (per_node,) = (
        argument
        for argument in launch('slurm_train', 'p', 'j', 'c', GPUS='16')
        if argument.startswith('--ntasks-per-node')
    )
    assert per_node == '--ntasks-per-node=4'
    assert launch(
        *('dist_train', 'config.py', '8', '--resume'),
        NNODES='2',
        NODE_RANK='1',
        MASTER_ADDR='10.0.0.1',
        PORT='4321',
    ) == [
        *('torchrun', '--nnodes=2', '--node_rank=1'),
        *('--master_addr=10.0.0.1', '--master_port=4321'),
        *('--nproc_per_node=8', f'{TOOLS}/train.py', 'config.py'),
        *('--launcher', 'pytorch', '--resume'),
    ]


def test_one_machine(launch):
    assert launch('dist_test', 'config.py', 'x.pth', '2')[-6:] == [
        *('--nproc_per_node=2', f'{TOOLS}/test.py', 'config.py', 'x.pth'),
        *('--launcher', 'pytorch'),
    ]


@pytest.mark.parametrize(
    'script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test']
)
def test_usage(launch, script):
    first, second = launch(script, 'config.py', status=2)
    assert first.startswith(f'Usage: tools/{script}.sh ')
    assert 'may be set' in second
