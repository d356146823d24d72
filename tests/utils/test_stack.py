# SPDX-License-Identifier: Apache-2.0
"""Every state of an environment, told in one sentence with a command."""

import importlib
import subprocess
import sys
from importlib import metadata

import pytest

import ovseg_mm
from ovseg_mm.utils import stack

CLASSIC = {
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
    'mmsegmentation': '1.2.2',
    'mmpretrain': '1.2.0',
    'torch': '2.1.2',
    'numpy': '1.26.4',
}
ONEDL = {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mmpretrain': '1.3.6',
    'torch': '2.15.0',
    'numpy': '2.4.6',
}


@pytest.fixture
def environment(monkeypatch):
    """Lets a test say which distributions are installed."""

    def install(versions):
        def version(name):
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(metadata, 'version', version)
        monkeypatch.setattr(metadata, 'distribution', version)

    return install


def without(versions, *names):
    return {k: v for k, v in versions.items() if k not in names}


@pytest.mark.parametrize(
    'versions',
    [
        CLASSIC,
        ONEDL,
        without(CLASSIC, 'mmpretrain'),
        without(ONEDL, 'onedl-mmpretrain'),
        {**CLASSIC, 'mmcv': '2.0.0rc4', 'mmengine': '0.10.3'},
        {**CLASSIC, 'torch': '2.3.0+cu121', 'numpy': '2.0.0'},
        {**ONEDL, 'torch': '2.16.0a0+git1234'},
    ],
)
def test_whole_stacks_pass(environment, versions):
    environment(versions)
    stack.check_stack()


@pytest.mark.parametrize(
    'versions, words, command',
    [
        ({}, 'MMSegmentation 1.x, which is not installed', 'onedl-mmseg'),
        (
            {'torch': '2.15.0', 'numpy': '2.4.6', 'onedl-mim': '0.5.1'},
            'MMSegmentation 1.x, which is not installed',
            'pip install torch torchvision && pip install onedl-mmengine',
        ),
        (
            without(ONEDL, 'onedl-mmcv', 'onedl-mmengine'),
            'mmengine, mmcv, but only onedl-mmsegmentation 1.4.2',
            'pip install onedl-mmengine onedl-mmcv',
        ),
        (
            without(CLASSIC, 'mmcv'),
            'mmcv, but only mmengine 0.10.7',
            'pip install mmcv',
        ),
        (
            {**CLASSIC, **ONEDL},
            'packages of OpenMMLab and of its fork OneDL are mixed',
            'pip uninstall -y mmengine onedl-mmengine mmcv onedl-mmcv '
            'mmsegmentation onedl-mmsegmentation mmpretrain '
            'onedl-mmpretrain && pip install onedl-mmengine onedl-mmcv',
        ),
        (
            {**without(ONEDL, 'onedl-mmcv'), 'mmcv': '2.1.0'},
            'mixed and overwrite each other (onedl-mmengine 0.10.12, mmcv '
            '2.1.0',
            'pip uninstall -y onedl-mmengine mmcv onedl-mmsegmentation',
        ),
        (
            {**CLASSIC, 'mmcv': '2.2.0'},
            'does not work with mmcv 2.2.0',
            "pip install 'mmcv>=2.0,<2.2'",
        ),
        (
            {**CLASSIC, 'mmsegmentation': '0.30.0'},
            'does not work with mmsegmentation 0.30.0',
            "pip install 'mmsegmentation>=1.2,<2.0'",
        ),
        (
            {**CLASSIC, 'torch': '1.13.1+cu117'},
            'torch 1.13.1+cu117 is too old',
            "pip install 'torch>=2.1' torchvision",
        ),
        (
            without(ONEDL, 'torch'),
            'torch, which is not installed',
            'pip install torch',
        ),
        (
            {**CLASSIC, 'numpy': '2.1.0'},
            'torch 2.1.2 does not work with numpy 2.1.0',
            "pip install 'numpy<2'",
        ),
    ],
)
def test_broken_environments(environment, versions, words, command):
    environment(versions)
    with pytest.raises(ImportError) as caught:
        stack.check_stack()
    message = str(caught.value)
    assert words in message
    assert command in message
    assert '\n' not in message


@pytest.mark.parametrize(
    'error, words',
    [
        (
            ModuleNotFoundError("No module named 'x'", name='mmcv._ext'),
            "--no-binary mmcv 'mmcv==2.1.0'",
        ),
        (
            AssertionError('MMCV==3.0 is used but\nincompatible'),
            'mmseg is installed but cannot be imported (AssertionError: '
            'MMCV==3.0 is used but incompatible)',
        ),
        (OSError('libGL.so.1: cannot open'), 'libGL.so.1: cannot open'),
    ],
)
def test_packages_that_do_not_import(monkeypatch, error, words):
    real = importlib.import_module

    def broken(name, *args):
        if name == 'mmseg':
            raise error
        return real(name, *args)

    monkeypatch.setattr(importlib, 'import_module', broken)
    with pytest.raises(ImportError) as caught:
        ovseg_mm.register()
    assert words in str(caught.value)
    assert 'pip install' in str(caught.value)
    assert '\n' not in str(caught.value)


def test_installed_packages_are_of_one_stack():
    packages = [
        package
        for group in stack.installed_packages().values()
        for package in group
    ]
    assert len({package.onedl for package in packages}) == 1
    assert all(package.version for package in packages)


# A warning of the same module and other words, and a line of the same way.
OTHER_LINES = """
import warnings
import ovseg_mm
warnings.warn_explicit(
    'another warning', UserWarning, 'transformer.py', 1,
    module='mmcv.cnn.bricks.transformer')
from mmengine.logging import print_log
print_log('Could not import OneDL')
# Configs of CAT-Seg v1 with ConvNeXt import it after this package.
try:
    import mmpretrain.datasets
except ImportError:
    pass
print_log('Could not import another package')
"""


def test_import_prints_nothing_of_its_own():
    result = subprocess.run(
        [sys.executable, '-c', OTHER_LINES], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == 'Could not import another package\n'
    (line,) = result.stderr.strip().splitlines()
    assert line.endswith('UserWarning: another warning')
