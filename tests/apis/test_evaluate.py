# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from mmengine.config import Config

from ovseg_mm.apis.evaluate import (
    BENCHMARKS,
    _base_of,
    _benchmark,
    _origin,
    evaluate,
)
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import resource
from ovseg_mm.vocabulary import load_vocabulary

from ..end_to_end.conftest import TINY, tiny_data

__all__ = ['tiny_data']

SCAN = resource('configs', 'scan')
NAME = 'scan_clip-vit-l14-swin-b_8xb4-120k_{}-640x640.py'


@pytest.mark.parametrize('key', BENCHMARKS)
def test_constants_of_a_benchmark_are_those_of_its_config(key):
    cfg = Config.fromfile(SCAN / NAME.format('ade20k'))
    found = _benchmark(key, cfg, {'model.test_cfg.keep_scores': True})
    dataset = BENCHMARKS[key].replace('_', '-')
    if key in ('voc20b', 'cityscapes', 'voc21', 'pc60', 'object'):
        # SCAN has none for them.
        assert _origin(key, found, cfg) == (
            Path(cfg.filename).stem,
            f'of {Path(cfg.filename).stem}, since there is no config for '
            f'{key} beside it',
        )
        base = Config.fromfile(_base_of(BENCHMARKS[key]))
        base = base.test_dataloader.dataset
        for name in ('type', 'data_root', 'data_prefix'):
            assert found.test_dataloader.dataset[name] == base[name]
        assert found.model.decode_head == cfg.model.decode_head
    else:
        assert Path(found.filename) == SCAN / NAME.format(dataset)
        expected = Config.fromfile(SCAN / NAME.format(dataset)).model
        expected.test_cfg.keep_scores = True
        assert found.model == expected
        stem = Path(found.filename).stem
        assert _origin(key, found, cfg) == (stem, 'of its own config')


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
    cfg = _benchmark(key, Config.fromfile(path), None)
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


def test_a_config_without_others_beside_it(tmp_path):
    path = tmp_path / NAME.format('ade20k')
    path.write_text(f"_base_ = ['{SCAN / NAME.format('ade20k')}']\n")
    cfg = Config.fromfile(path)
    assert _benchmark('ade150', cfg, None).filename == str(path)
    found = _benchmark('ade847', cfg, None)
    assert Path(found.filename).stem == 'ade20k-847'
    assert 'vocabulary' not in found.model
    assert found.model.decode_head == cfg.model.decode_head


def test_words_in_another_order_are_refused_before_any_model(
    tiny_data, tmp_path, monkeypatch
):
    def load(*_):
        pytest.fail('a model was built')

    monkeypatch.setitem(evaluate.__globals__, '_load', load)
    good, bad = tmp_path / 'good.py', tmp_path / 'bad.py'
    good.write_text(f"_base_ = ['{TINY}']\n")
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
