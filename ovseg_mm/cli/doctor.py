# SPDX-License-Identifier: Apache-2.0
"""Command ``doctor``: report on the installation and its problems."""

import argparse
import importlib
import os
import platform
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

LIBRARIES = (
    'torch',
    'torchvision',
    'numpy',
    'opencv-python',
    'open_clip_torch',
    'huggingface-hub',
    'safetensors',
    'ftfy',
    'regex',
    'fvcore',
)
MIMS = ('onedl-mim', 'openmim')


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the parser of the command ``doctor``."""
    parser = subparsers.add_parser(
        'doctor', help='report on the installation and its problems'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report.

    Args:
        args (argparse.Namespace): Options of the command, not used.

    Returns:
        int: Exit status: 1 if there is a problem, otherwise 0.
    """
    problems: list[str] = []
    for title, section in (
        ('Python', _python),
        ('OpenMMLab packages', _stack),
        ('Libraries', _libraries),
        ('Devices', _devices),
        ('Folders', _folders),
    ):
        print(title)
        for name, value in section(problems):
            print(f'  {name:22}{value}')
    for problem in problems:
        print(f'problem: {problem}')
    print('broken' if problems else 'all is well')
    return int(bool(problems))


def _python(problems: list[str]) -> list[tuple[str, str]]:
    from ovseg_mm.version import __version__

    version = platform.python_version()
    if tuple(map(int, version.split('.')[:2])) < (3, 10):
        problems.append(
            f'Python {version} is too old; install Python 3.10 or newer'
        )
    return [('ovseg_mm', __version__), ('python', version)]


def _stack(problems: list[str]) -> list[tuple[str, str]]:
    from ovseg_mm.utils.stack import check_stack, installed_packages

    rows = []
    for module, packages in installed_packages().items():
        names = ', '.join(f'{p.name} {p.version}' for p in packages)
        state = names or 'not installed'
        if packages:
            error = _import_error(module)
            if error:
                state += ' (does not import)'
                problems.append(f'import {module} fails: {error}')
        rows.append((module, state))
    try:
        check_stack()
    except ImportError as error:
        problems.append(str(error))
    compiled = _import_error('mmcv._ext') is None
    rows.append(
        ('compiled operators', 'yes' if compiled else 'no (not needed)')
    )
    mims = [f'{name} {v}' for name in MIMS if (v := _version(name))]
    rows.append(('mim', ', '.join(mims) or 'not installed'))
    return rows


def _libraries(problems: list[str]) -> list[tuple[str, str]]:
    return [(name, _version(name) or 'not installed') for name in LIBRARIES]


def _devices(problems: list[str]) -> list[tuple[str, str]]:
    error = _import_error('torch')
    if error:
        problems.append(f'import torch fails: {error}')
        return [('torch', 'does not import')]
    import torch

    rows = [('CPU', f'{os.cpu_count()} cores')]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        size = properties.total_memory / 2**30
        rows.append((f'cuda:{index}', f'{properties.name}, {size:.0f} GiB'))
    if not torch.cuda.is_available():
        built = torch.version.cuda
        rows.append(('CUDA', f'not usable (torch.version.cuda is {built})'))
    if torch.backends.mps.is_available():
        rows.append(('MPS', 'usable'))
    return rows


def _folders(problems: list[str]) -> list[tuple[str, str]]:
    from ovseg_mm.utils.paths import cache_folder, expanded, resource

    rows = []
    for name in ('configs', 'tools', 'data'):
        folder = resource(name)
        rows.append((name, str(folder)))
        if not folder.is_dir():
            problems.append(f'{folder} is missing; install the package again')
    hub = os.environ.get('HF_HOME', '~/.cache/huggingface')
    for name, folder in (
        ('text embeddings', cache_folder()),
        ('hub cache', expanded(hub)),
        ('working folder', Path.cwd()),
    ):
        problem = _write_problem(folder)
        free = shutil.disk_usage(_existing(folder)).free / 2**30
        rows.append((name, f'{folder}, {free:.0f} GiB free'))
        if problem:
            problems.append(f'no file can be written to {folder}: {problem}')
    return rows


def _import_error(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _write_problem(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return None
    except OSError as error:
        return str(error)
