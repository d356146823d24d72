# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from ovseg_mm.apis.benchmarks import (
    BENCHMARKS,
    find_benchmark,
    path_of_test_set,
)
from ovseg_mm.apis.evaluate import _build_metric, evaluate
from ovseg_mm.engine.launch import read_config
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.model_index import find_config_of_family
from ovseg_mm.utils.paths import resource
from ovseg_mm.vocabulary import load_vocabulary
from ovseg_mm.zoo import resolve_model

from ..end_to_end.conftest import TINY, tiny_data

__all__ = ['tiny_data']
SCAN = resource('configs', 'scan')
NAME = 'scan_clip-vit-l14-swin-b_8xb4-120k_{}-640x640.py'


def test_shipped_configs_find_those_of_their_family():
    """Names of configs say the same as the metafiles."""
    paths = sorted(resource('configs').glob('[!_]*/*.py'))
    for path in paths:
        model = re.escape(path.stem.rpartition('_')[0])
        for test_set in set(BENCHMARKS.values()):
            name = re.escape(test_set.replace('_', '-'))
            expected = [
                other
                for other in paths
                if re.fullmatch(rf'{model}_{name}-\d+x\d+', other.stem)
            ]
            found = find_config_of_family(path, test_set)
            assert [found] == (expected or [None]), (path, test_set)


@pytest.mark.parametrize('key', BENCHMARKS)
def test_constants_of_a_benchmark_are_those_of_its_config(key):
    cfg = Config.fromfile(SCAN / NAME.format('ade20k'))
    options = {'model.test_cfg.keep_scores': True}
    found = find_benchmark(key, cfg, options)
    dataset = BENCHMARKS[key].replace('_', '-')
    if key in ('voc20b', 'cityscapes', 'voc21', 'pc60', 'object'):
        # SCAN has none for them.
        stem = Path(cfg.filename).stem
        note = f'of {stem}: there is no config of this model for {key}'
        assert (found.config, found.constants) == (stem, note)
        base = Config.fromfile(path_of_test_set(BENCHMARKS[key]))
        expected = base.test_dataloader
        expected.dataset.pipeline = cfg.test_pipeline
        assert found.cfg.test_dataloader == expected
        assert found.cfg.model.decode_head == cfg.model.decode_head
        assert found.cfg.model.test_cfg.keep_scores
        assert 'vocabulary' not in found.cfg.model
    else:
        assert Path(found.cfg.filename) == SCAN / NAME.format(dataset)
        expected = Config.fromfile(SCAN / NAME.format(dataset)).model
        expected.test_cfg.keep_scores = True
        assert found.cfg.model == expected
        stem = Path(found.cfg.filename).stem
        assert (found.config, found.constants) == (stem, f'of {stem}')


# Threshold of the masks, weight of the regions, short and long side.
ZSSEG = {
    'ade150': (0.4, 0.5, 512, 2048),
    'ade847': (0.3, 0.7, 512, 2048),
    'pc59': (0.5, 0.4, 512, 2048),
    'voc20': (0.5, 0.4, 512, 2048),
    'cityscapes': (0.3, 0.4, 1024, 2048),
}


@pytest.mark.parametrize('key', ZSSEG)
@pytest.mark.parametrize('given', ['ade20k-512x512', 'pascal-voc20-512x512'])
def test_constants_of_zsseg(key, given):
    stem = 'zsseg_clip-vit-b16-r101c-vild_8xb4-120k'
    path = resource('configs', 'zsseg', f'{stem}_{given}.py')
    cfg = find_benchmark(key, Config.fromfile(path)).cfg
    threshold, weight, short, long = ZSSEG[key]
    assert Path(cfg.filename).stem.startswith(stem)
    assert cfg.model.region_encoder.mask_threshold == threshold
    assert cfg.model.decode_head.ensemble_weight == weight
    assert cfg.model.prompts.templates == 'vild'
    assert cfg.train_cfg.max_iters == 120_000
    for pipeline in (
        cfg.test_pipeline,
        cfg.test_dataloader.dataset.pipeline,
    ):
        resize = pipeline[1]
        assert resize.scale == (long, short) and resize.keep_ratio
        assert resize.backend == 'pillow'
    # Seen and unseen objects of PASCAL VOC are weighed differently.
    unseen = load_vocabulary(cfg.model.vocabulary).unseen
    assert list(unseen) == ([15, 16, 17, 18, 19] if key == 'voc20' else [])


@pytest.mark.parametrize(
    'name', ['maskclip', 'sclip', 'clearclip', 'naclip', 'sc-clip', 'sfp']
)
def test_eight_benchmarks_of_a_method_without_training(name):
    source = resolve_model(f'{name}:ViT-L-14/openai')
    cfg = read_config(source.config, source.options)
    block = cfg.model.backbone.last_block
    keys = 'voc21,pc60,object,voc20,pc59,stuff,cityscapes,ade150'
    for key in keys.split(','):
        found = find_benchmark(key, cfg, source.options)
        test_set = BENCHMARKS[key].replace('_', '-')
        assert f'_{test_set}-' in found.config
        assert found.constants == f'of {found.config}'
        assert found.cfg.model.clip.arch == 'ViT-L-14'
        assert found.cfg.model.backbone.last_block == block
        assert found.cfg.model.vocabulary


def test_a_config_that_is_not_a_shipped_one(tmp_path):
    # The name of a shipped config changes nothing.
    path = tmp_path / NAME.format('ade20k')
    path.write_text(f"_base_ = ['{SCAN / NAME.format('ade20k')}']\n")
    cfg = Config.fromfile(path)
    own = find_benchmark('ade150', cfg)
    assert own.cfg.filename == str(path)
    assert own.cfg.model == cfg.model and own.cfg.model is not cfg.model
    assert own.constants == f'of {path.stem}'
    for folder in ('elsewhere', 'data/ade/ADEChallengeData2016/'):
        cfg.test_dataloader.dataset.data_root = folder
        assert find_benchmark('ade150', cfg).constants == f'of {path.stem}'
    other = find_benchmark('ade847', cfg)
    assert Path(other.cfg.filename).stem == 'ade20k-847'
    assert 'vocabulary' not in other.cfg.model
    assert other.cfg.model.decode_head == cfg.model.decode_head
    assert 'no config of this model for ade847' in other.constants


def test_a_config_without_test_pipeline(tmp_path):
    path = tmp_path / 'own.py'
    path.write_text("model = dict(type='OpenVocabSegmentor')\n")
    with pytest.raises(InputError, match=f'{path} has no test_pipeline'):
        find_benchmark('pc59', Config.fromfile(path))


def test_evaluator_that_is_not_ours(tiny_data, tmp_path):
    options = {
        'test_dataloader.dataset.data_root': str(tiny_data),
        'test_evaluator': [dict(type='OpenVocabIoUMetric')],
    }
    with pytest.raises(
        InputError, match="set it to one metric: .*'OpenVocabIoUMetric'"
    ):
        _build_metric(read_config(TINY, options), None, None, 'own')


def test_missing_checkpoint_is_reported_before_any_work(tmp_path):
    work_dir = tmp_path / 'work'
    with pytest.raises(FileNotFoundError, match='gone.pth does not exist'):
        evaluate(TINY, tmp_path / 'gone.pth', ['ade150'], work_dir)
    assert not work_dir.exists()


def test_vocabulary_in_another_order_is_refused_before_any_model(
    tiny_data, tmp_path, monkeypatch
):
    def load(*_):
        pytest.fail('a model was built')

    monkeypatch.setitem(evaluate.__globals__, '_load', load)
    good, bad = tmp_path / 'good.py', tmp_path / 'bad.py'
    good.write_text(f"_base_ = ['{TINY}']\n")
    (tmp_path / 'none.pth').touch()
    words = Config.fromfile(TINY).vocabulary[::-1]
    bad.write_text(f"_base_ = ['{TINY}']\nmodel = dict(vocabulary={words})\n")
    with pytest.raises(InputError, match=f'{bad} in another order'):
        evaluate(
            TINY,
            tmp_path / 'none.pth',
            [str(good), str(bad)],
            tmp_path / 'work',
            cfg_options={'test_dataloader.dataset.data_root': str(tiny_data)},
        )
