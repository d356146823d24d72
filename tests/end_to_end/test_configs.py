# SPDX-License-Identifier: Apache-2.0
"""Every shipped config trains and tests on its data set's real layout."""

from pathlib import Path

import open_clip
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from .conftest import ROOT, run, write_scene

CONFIGS = sorted((ROOT / 'configs').glob('*/*.py'))
CONFIGS = [c for c in CONFIGS if c.parent.name not in ('_base_', 'toy')]
SIZE = (90, 120)


@pytest.fixture(scope='module')
def home(tmp_path_factory) -> Path:
    """A folder with ``data/``, laid out as users have it."""
    root = tmp_path_factory.mktemp('home')
    data = root / 'data'
    coco = data / 'coco_stuff164k'
    for split in ('train2017', 'val2017'):
        for index in range(2):
            name = f'{index:012d}'
            write_scene(
                coco / 'images' / split / f'{name}.jpg',
                coco / 'annotations' / split / f'{name}_labelTrainIds.png',
                SIZE,
                seed=index,
                classes=171,
            )
    ade = data / 'ade' / 'ADEChallengeData2016'
    voc = data / 'VOCdevkit' / 'VOC2010'
    for index in range(2):
        name = f'ADE_val_{index + 1:08d}'
        write_scene(
            ade / 'images' / 'validation' / f'{name}.jpg',
            ade / 'annotations' / 'validation' / f'{name}.png',
            SIZE,
            seed=index,
            classes=151,
        )
        write_scene(
            voc / 'JPEGImages' / f'2008_00000{index}.jpg',
            voc / 'SegmentationClassContext' / f'2008_00000{index}.png',
            SIZE,
            seed=index,
            classes=60,
        )
    split = voc / 'ImageSets' / 'SegmentationContext' / 'val.txt'
    split.parent.mkdir(parents=True)
    split.write_text('2008_000000\n2008_000001\n')
    return root


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_trains_and_tests_a_step(path, home, monkeypatch):
    monkeypatch.chdir(home)
    cfg = _shallow(Config.fromfile(path))
    runner = Runner.from_cfg(cfg)
    runner.train()
    metrics = runner.test()
    assert 0 <= metrics['mIoU'] <= 100
    assert (Path(cfg.work_dir) / 'iter_1.pth').is_file()


@pytest.mark.slow
def test_coco_stuff_at_true_size_through_mim(home):
    (config,) = (
        c for c in CONFIGS if 'vit-b16' in c.stem and 'coco' in c.stem
    )
    output = run(
        *('mim', 'train', 'ovseg_mm', config, '--gpus', 0),
        *('--work-dir', home / 'true_size', '--cfg-options'),
        *('model.clip.pretrained=None', 'train_cfg.max_iters=1'),
        'train_cfg.val_interval=10',
        *('train_dataloader.num_workers=0', 'val_dataloader.num_workers=0'),
        'train_dataloader.persistent_workers=False',
        'val_dataloader.persistent_workers=False',
        cwd=home,
    )
    assert 'Saving checkpoint at 1 iterations' in output


def _shallow(cfg: Config) -> Config:
    """The config with random weights, few blocks and one iteration."""
    arch = open_clip.get_model_config(cfg.model.clip.arch)
    arch['vision_cfg']['layers'] = 2
    arch['text_cfg']['layers'] = 1
    arch['quick_gelu'] = True
    cfg.model.clip.update(arch=arch, pretrained=None)
    cfg.model.backbone.out_indices = (0, 1)
    for name in ('train', 'val', 'test'):
        cfg[f'{name}_dataloader'].update(
            num_workers=0, persistent_workers=False
        )
    cfg.train_cfg.update(max_iters=1, val_interval=10)
    cfg.work_dir = f'work_dirs/{Path(cfg.filename).stem}'
    cfg.launcher = 'none'
    cfg.experiment_name = cfg.work_dir.replace('/', '_')
    return cfg
