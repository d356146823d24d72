# SPDX-License-Identifier: Apache-2.0
"""What all tests share: few threads, no network, caches of their own."""

import gc
import os
import socket
from collections.abc import Callable

# Before torch looks for GPUs: results are compared on the CPU, and several
# processes cannot share one GPU. Tests marked gpu need OVSEG_TEST_GPU=1.
if not os.environ.get('OVSEG_TEST_GPU'):
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

from ovseg_mm.visualization import OpenVocabVisualizer

# Read by huggingface-hub when it is imported, so not left to a fixture.
os.environ['HF_HUB_OFFLINE'] = '1'
# Two threads in all, however many processes share the tests.
WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))
torch.set_num_threads(min(max(1, 2 // WORKERS), torch.get_num_threads()))


def free_port() -> str:
    """A port for processes that find each other."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


def status_of_fork(work: Callable[[], object]) -> int:
    """Run something that ends its process in a process of its own.

    Returns:
        Exit status, or the negative number of the signal; 0 if ``work``
        returns or raises.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first.

    ``--dist loadfile --no-loadscope-reorder`` deals files out in this order,
    so that no worker is alone with a long file at the end.
    """
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Collect no garbage among what the imports made.

    MMEngine collects garbage for every data set that it builds, and each time
    would look at half a million objects.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def cache(tmp_path_factory):
    """The package's cache, away from the user's; commands inherit it."""
    folder = tmp_path_factory.mktemp('cache')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('OVSEG_CACHE', str(folder))
        yield folder


@pytest.fixture(scope='session', autouse=True)
def unformatted_configs():
    """Dumps of configs are not formatted: it takes longer than tiny runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'yapf.yapflib.yapf_api.FormatCode', lambda text, **_: (text, True)
        )
        yield


def forget_runs() -> None:
    """Drop what a run leaves in its process for later ones of its name."""
    for kind in (Visualizer, OpenVocabVisualizer, MMLogger, MessageHub):
        kind._instance_dict.clear()


@pytest.fixture(autouse=True)
def own_runs():
    """A test's runs do not write into folders of another's, now gone."""
    yield
    forget_runs()


@pytest.fixture(autouse=True)
def seed():
    """Random tensors of a test are the same in every run."""
    torch.manual_seed(0)
