# SPDX-License-Identifier: Apache-2.0
"""What importing the package does to MMSegmentation, seen from outside."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError(f'the network is asked for {args[1:]}')

socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = refuse

import mmseg.apis
import mmseg.registry
from mmengine.registry import Registry
from mmseg.utils import register_all_modules

register_all_modules(init_default_scope=True)

def contents():
    return {
        name: {key: f'{c.__module__}.{c.__qualname__}'
               for key, c in registry.module_dict.items()}
        for name, registry in vars(mmseg.registry).items()
        if isinstance(registry, Registry)
    }

before = contents()
import ovseg_mm
loaded = [name for name in ('mmdet', 'mmcv.ops', 'open_clip', 'gradio',
                            'transformers') if name in sys.modules]
print(json.dumps([before, contents(), loaded]))
"""


@pytest.fixture(scope='module')
def registries():
    """Names and classes of every registry before and after the import."""
    result = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_only_new_names_are_registered(registries):
    before, after, _ = registries
    assert len(before['MODELS']) > 50
    for registry, known in before.items():
        for name, where in known.items():
            assert after[registry][name] == where, (registry, name)
        for name in after[registry].keys() - known.keys():
            assert after[registry][name].startswith('ovseg_mm.'), name


def test_everything_is_registered(registries):
    before, after, _ = registries
    added = {
        registry: after[registry].keys() - before[registry].keys()
        for registry in after
    }
    assert added['MODELS'] >= {
        'OpenVocabSegmentor',
        'OpenVocabTTAModel',
        'CLIPViT',
        'CLIPTextTransformer',
        'CLIPTokenPyramid',
        'CATSegCostHead',
        'CLIPLevelProjection',
        'CascadeCLIPHead',
        'DenseDiceLoss',
        'DenseFocalLoss',
        'DenseBCELoss',
    }
    for registry, name in (
        ('DATASETS', 'OpenVocabDataset'),
        ('TRANSFORMS', 'LoadOpenVocabAnnotations'),
        ('METRICS', 'OpenVocabIoUMetric'),
        ('HOOKS', 'VocabularyHook'),
        ('VISUALIZERS', 'OpenVocabVisualizer'),
        ('OPTIM_WRAPPERS', 'AutocastOptimWrapper'),
        ('OPTIM_WRAPPER_CONSTRUCTORS', 'OpenVocabOptimWrapperConstructor'),
    ):
        assert name in added[registry]


def test_names_of_other_projects_are_left_to_them(registries):
    _, after, _ = registries
    projects = {'CLIPOVCATSeg', 'CATSegHead', 'CATSegAggregator'}
    for registry, names in after.items():
        assert not projects & names.keys(), registry


def test_importing_is_cheap(registries):
    """Nothing heavy is loaded that only some commands need."""
    _, _, loaded = registries
    assert not set(loaded) & {'mmdet', 'gradio', 'open_clip'}
