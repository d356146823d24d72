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


# Folder, images, labels, list of samples, number of label values.
VOC10, VOC12 = 'VOCdevkit/VOC2010', 'VOCdevkit/VOC2012'
DATA_SETS = [
    (
        'coco_stuff164k',
        'images/train2017/{}.jpg',
        'annotations/train2017/{}_labelTrainIds.png',
        None,
        171,
    ),
    (
        'coco_stuff164k',
        'images/val2017/{}.jpg',
        'annotations/val2017/{}_labelTrainIds.png',
        None,
        171,
    ),
    (
        'ade/ADEChallengeData2016',
        'images/validation/{}.jpg',
        'annotations/validation/{}.png',
        None,
        151,
    ),
    (
        'ade/ADE20K_2021_17_01',
        'images_detectron2/validation/{}.jpg',
        'annotations_detectron2/validation/{}.tif',
        None,
        847,
    ),
    (
        VOC10,
        'JPEGImages/{}.jpg',
        'SegmentationClassContext/{}.png',
        'ImageSets/SegmentationContext/val.txt',
        60,
    ),
    (
        VOC10,
        'JPEGImages/{}.jpg',
        'annotations_detectron2/pc459_val/{}.tif',
        'ImageSets/SegmentationContext/val.txt',
        459,
    ),
    (
        VOC12,
        'JPEGImages/{}.jpg',
        'SegmentationClass/{}.png',
        'ImageSets/Segmentation/val.txt',
        21,
    ),
]


@pytest.fixture(scope='module')
def home(tmp_path_factory) -> Path:
    """A folder with ``data/``, laid out as users have it."""
    root = tmp_path_factory.mktemp('home')
    names = ['2008_000000', '2008_000001']
    for folder, images, labels, samples, classes in DATA_SETS:
        folder = root / 'data' / folder
        for seed, name in enumerate(names):
            write_scene(
                folder / images.format(name),
                folder / labels.format(name),
                SIZE,
                seed,
                classes,
            )
        if samples is not None:
            (folder / samples).parent.mkdir(parents=True, exist_ok=True)
            (folder / samples).write_text('\n'.join(names))
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
