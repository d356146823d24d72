# SPDX-License-Identifier: Apache-2.0
import argparse

import pytest

from ovseg_mm.utils.speed_options import (
    add_speed_options,
    speed_options,
    speed_settings,
)


@pytest.mark.parametrize(
    ('line', 'options', 'settings'),
    [
        ('', {}, {}),
        ('--amp', dict(amp=True), {'test_cfg.fp16': True}),
        ('--compile', dict(compile=True), {'compile': True}),
        (
            '--max-words 32',
            dict(max_words=32),
            {'model.test_cfg.max_words': 32},
        ),
        (
            '--prune-regions 0',
            dict(prune_regions=0),
            {'model.test_cfg.prune_regions': 0},
        ),
    ],
)
def test_command_line_to_config(line, options, settings):
    parser = argparse.ArgumentParser()
    add_speed_options(parser)
    found = speed_options(parser.parse_args(line.split()))
    assert found == options
    assert speed_settings(**found) == settings
