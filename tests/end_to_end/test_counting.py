# SPDX-License-Identifier: Apache-2.0
"""FLOPs and images a second of every method, through the tools."""

import re

import pytest

from .conftest import ROOT, TINY, data_options

CONFIGS = sorted((ROOT / 'configs' / 'toy').glob('*.py'))


@pytest.mark.parametrize('config', CONFIGS, ids=lambda path: path.stem)
def test_flops(tool, config):
    status, output = tool('get_flops', config, '--shape', 96, 128)
    assert status == 0, output
    flops = dict(re.findall(r'^  (\w+): ([\d.]+) GFLOPs', output, re.M))
    parts = {'backbone', 'decode_head'}
    if config.stem.startswith(('scan', 'zsseg')):
        parts.add('region_encoder')
    assert parts <= flops.keys()
    # Heads without parameters have less than is printed.
    small = set() if '_1xb' in config.stem else {'decode_head'}
    assert all(float(flops[part]) > 0 for part in parts - small)
    # Three templates for each of 40 classes.
    assert '120 prompts of 10 tokens' in output
    parameters = re.search(r'^parameters: ([\d.]+) M', output, re.M)
    assert 3.5 < float(parameters.group(1)) < 6
    assert re.search(r'operators that are not counted: .*\badd \d', output)


def test_images_a_second(tool):
    status, output = tool(
        'get_fps', TINY, *('--shape', 64, 80, '--batch-size', 2)
    )
    assert status == 0, output
    assert re.search(r'[\d.]+ images/s', output)
    assert '64x80 pixels' in output


def test_images_a_second_of_the_test_set(tool, tiny_data):
    options = ('--cfg-options', *data_options(tiny_data))
    status, output = tool('get_fps', TINY, '--test-images', *options)
    assert status == 0, output
    assert 'batches: 4 timed, 1 for warm-up, batch size 1' in output
    assert 'images: 5 of 5 test images of the config, too few for 100' in (
        output
    )
    wanted = ('--warm-up', 1, '--batches', 1, '--batch-size', 2)
    status, output = tool('get_fps', TINY, '--test-images', *wanted, *options)
    assert status == 0, output
    assert 'batches: 1 timed, 1 for warm-up, batch size 2' in output
    assert 'images: 4 of 5 test images of the config;' in output


def test_test_images_that_are_not_there(tool, tiny_data):
    for arguments, message in (
        ((), 'does not exist'),
        (('--shape', 64, 64), '--shape is the size of random images'),
        (
            ('--batch-size', 6, '--cfg-options', *data_options(tiny_data)),
            'has 5 images, fewer than one batch of 6',
        ),
    ):
        status, output = tool('get_fps', TINY, '--test-images', *arguments)
        assert status == 2, output
        assert message in output.splitlines()[-1]


@pytest.mark.parametrize('script', ['get_flops', 'get_fps'])
@pytest.mark.parametrize('size', [(0, 4), (64, -3), ('x', 64)])
def test_sizes_that_are_none(tool, script, size):
    status, output = tool(script, TINY, '--shape', *size)
    assert status == 2
    assert 'is not a whole number above 0' in output.splitlines()[-1]


def test_devices_that_are_none(tool):
    status, output = tool('get_fps', TINY, '--device', 'xpu')
    assert status == 2
    assert output.splitlines()[-1].startswith("error: the device 'xpu' cannot")


def test_models_by_name(tool):
    status, output = tool('get_flops', 'toy')
    assert status == 0, output
    assert '120 prompts of 10 tokens' in output
    counts = ('--warm-up', 0, '--batches', 1)
    status, output = tool('get_fps', 'toy', *counts)
    assert status == 0, output
    assert "weights: CLIP's" in output
    status, output = tool('get_fps', 'toyy', *counts)
    assert status == 2
    assert "did you mean 'toy'?" in output.splitlines()[-1]
