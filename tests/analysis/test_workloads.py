# SPDX-License-Identifier: Apache-2.0
import argparse
import importlib.util
import json
import os
from pathlib import Path

import pytest

from ovseg_mm.analysis.workloads import WORKLOADS, Work
from ovseg_mm.inference import ScoreMap
from ovseg_mm.utils.errors import InputError

TOOLS = Path(__file__).parents[2] / 'tools'
CONFIG = 'maskclip_clip-toy_toy-world-64x64.py'
TRAINED = 'catseg_clip-toy_1xb4-400_toy-world-64x64.py'
SMALL = dict(image_size=(64, 80), repeats=2)


@pytest.fixture
def benchmark(monkeypatch):
    """The tool, with measurements in this process."""
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    monkeypatch.syspath_prepend(TOOLS)
    spec = importlib.util.spec_from_file_location(
        'benchmark', TOOLS / 'benchmark.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'in_fresh_process', module.run)
    return module


@pytest.fixture
def options():
    return argparse.Namespace(
        cfg_options=None,
        classes='striped red; grass; sand',
        threads=1,
        plain=False,
        train=False,
        load=False,
        folder=False,
        **SMALL,
    )


def test_prediction_on_both_paths(benchmark, options):
    own, options.plain = ScoreMap.of, True
    figures = json.loads(json.dumps(benchmark.measure(CONFIG, options)))
    assert ScoreMap.of is own
    fast, plain = figures['predict'], figures['plain']
    assert {'read', 'preprocess', 'image tower', 'head', 'draw'} <= set(
        fast['later']
    )
    for part in (fast, plain):
        # The texts are encoded once.
        text = [part[key]['text']['user'] for key in ('first', 'later')]
        assert text[0] > text[1]
        assert part['rate'] > 1e6 and part['memory'] > 0
    assert fast['flops'] > 1e7 and 'flops' not in plain
    earlier = dict(predict=plain)
    name, first, second, *table = benchmark.report(CONFIG, figures, earlier)
    assert name.strip() == CONFIG.removesuffix('.py')
    assert first.startswith('  plain path / optimised code: CPU time x ')
    assert second.startswith('  earlier run / this run: CPU time x ')
    assert second.split(': ')[1] == first.split(': ')[1]
    count = len(fast['later']) + len(plain['later'])
    assert len(table) == count + 2 * 3 + 1


def test_training_step(benchmark, options):
    options.train, options.classes = True, None
    figures = benchmark.measure(TRAINED, options)
    later = figures['train']['later']
    assert {'update', 'text', 'image tower', 'head'} <= set(later)
    assert figures['train']['memory'] > 0
    assert 'update' in '\n'.join(benchmark.report(TRAINED, figures, {}))


def test_loading(benchmark, options):
    options.load = True
    figures = benchmark.measure(TRAINED, options)
    first, _, *table = benchmark.report(TRAINED, figures, {})[1:]
    assert set(figures['load']['later']) == {
        'LoadOpenVocabImage',
        'LoadOpenVocabAnnotations',
        'RandomCrop',
        'RandomFlip',
        'PackSegInputs',
    }
    assert len(table) == 5
    rate = figures['load']['images']
    assert f'{rate:.1f} images per CPU second' in first
    assert f'{4 * rate:.0f} images per second with 4 workers' in first


def test_folder(benchmark, options):
    options.folder = True
    figures = benchmark.measure(CONFIG, options)
    assert set(figures) == {'folder 1', 'folder 8'}
    alone, together = benchmark.report(CONFIG, figures, {})[1:]
    assert alone.startswith('  batches of 1: 1.00 x the speed of batches of 1')
    ratio = figures['folder 8']['images'] / figures['folder 1']['images']
    assert together.startswith(f'  batches of 8: {ratio:.2f} x the speed')


@pytest.mark.parametrize('kind', ['train', 'load'])
def test_a_method_without_training(kind):
    with pytest.raises(InputError, match='has no train_dataloader'):
        WORKLOADS[kind](Work(CONFIG, **SMALL))
