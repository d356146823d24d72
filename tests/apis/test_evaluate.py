# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from mmengine.config import Config

from ovseg_mm.apis.evaluate import BENCHMARKS, _benchmark
from ovseg_mm.paths import resource

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
