# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from mmengine.config import Config

from ovseg_mm.apis.evaluate import BENCHMARKS, _benchmark, evaluate
from ovseg_mm.errors import InputError
from ovseg_mm.paths import resource

from ..end_to_end.conftest import TINY, tiny_data

__all__ = ['tiny_data']

SCAN = resource('configs', 'scan')
NAME = 'scan_clip-vit-l14-swin-b_8xb4-120k_{}-640x640.py'


@pytest.mark.parametrize('key', BENCHMARKS)
def test_constants_of_a_benchmark_are_those_of_its_config(key):
    cfg = Config.fromfile(SCAN / NAME.format('ade20k'))
    found = _benchmark(key, cfg, {'model.test_cfg.keep_scores': True})
    dataset = BENCHMARKS[key].replace('_', '-')
    if key == 'voc20b':  # SCAN has none for it
        assert found.test_dataloader.dataset.type == 'PascalVOC20bDataset'
        assert found.model.decode_head == cfg.model.decode_head
    else:
        assert Path(found.filename) == SCAN / NAME.format(dataset)
        expected = Config.fromfile(SCAN / NAME.format(dataset)).model
        expected.test_cfg.keep_scores = True
        assert found.model == expected


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
