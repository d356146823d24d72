# SPDX-License-Identifier: Apache-2.0
"""Our configs and models by name, through MMEngine's own doors."""

from pathlib import Path

import mmseg
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import get_config, get_model
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import save_checkpoint
from mmseg.apis import MMSegInferencer

from ovseg_mm.engine.config_check import check_config
from ovseg_mm.models.segmentors import OpenVocabSegmentor
from ovseg_mm.utils.model_index import list_models
from ovseg_mm.utils.paths import resource
from ovseg_mm.utils.stack import installed_packages

NAME = 'catseg_clip-toy_1xb4-400_toy-world-64x64'
HUB = f'ovseg_mm::toy/{NAME}.py'


@pytest.fixture
def child(tmp_path) -> Config:
    path = tmp_path / 'child.py'
    path.write_text(f"_base_ = '{HUB}'\ntrain_cfg = dict(max_iters=3)\n")
    return Config.fromfile(path)


def test_base_of_another_config(child):
    assert child.train_cfg.max_iters == 3
    check_config(child)
    init_default_scope('mmseg')
    assert isinstance(MODELS.build(child.model), OpenVocabSegmentor)
    dataset = dict(child.test_dataloader.dataset, lazy_init=True)
    assert len(DATASETS.build(dataset).metainfo['classes']) > 1


def test_base_that_is_not_a_whole_config(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text("_base_ = 'ovseg_mm::_base_/default_runtime.py'\n")
    assert Config.fromfile(path).randomness == dict(seed=0)
    path.write_text("_base_ = 'ovseg_mm::_base_/default_runtme.py'\n")
    with pytest.raises(FileNotFoundError, match='_base_/default_runtime.py'):
        Config.fromfile(path)


def test_hub():
    cfg = get_config(HUB)
    assert Path(cfg.filename) == resource('configs', 'toy', f'{NAME}.py')
    assert isinstance(get_model(HUB), OpenVocabSegmentor)
    with pytest.raises(FileNotFoundError, match=f'did you mean.*{NAME}'):
        get_config(HUB.replace('400', '401'))


def test_packages_of_mmsegmentation(tmp_path):
    (package,) = installed_packages()['mmseg']
    assert MODULE2PACKAGE['mmseg'] == package.name
    name = 'pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'
    configs = Path(mmseg.__file__).parent / '.mim' / 'configs'
    assert Path(get_config(f'mmseg::{name}').filename) == configs / name
    path = tmp_path / 'child.py'
    path.write_text(f"_base_ = 'mmseg::{name}'\n")
    assert Config.fromfile(path).model.type == 'EncoderDecoder'


def test_every_model_says_where_its_weights_are():
    for entry in list_models():
        # mim, MMEngine and MMSegInferencer cut addresses at commas.
        assert entry.weights and ',' not in entry.weights
        if entry.weights.startswith('https://'):
            assert entry.weights.endswith('.pth')
        else:
            assert entry.weights.startswith('no ')


@pytest.mark.parametrize('scope', ['mmseg', 'ovseg_mm'])
def test_inferencer_by_name(scope, tmp_path):
    with pytest.raises(FileNotFoundError, match='no released weights; train'):
        MMSegInferencer(NAME, device='cpu', scope=scope)
    weights = str(tmp_path / 'weights.pth')
    save_checkpoint(dict(state_dict=get_model(HUB).state_dict()), weights)
    inferencer = MMSegInferencer(NAME, weights, device='cpu', scope=scope)
    assert isinstance(inferencer.model, OpenVocabSegmentor)
    result = inferencer(np.zeros((64, 80, 3), np.uint8))
    assert result['predictions'].shape == (64, 80)
    assert NAME in MMSegInferencer.list_models(scope)
