# SPDX-License-Identifier: Apache-2.0
"""Every shipped config works on its data set's real layout.

It trains, its checkpoint is resumed and reloaded, and it tests.
"""

import functools
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import open_clip
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.registry import DATASETS
from mmseg.utils.tokenizer import SimpleTokenizer

from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.engine.weights import load_weights
from ovseg_mm.vocabulary import get_templates

from ..raw_data import prepare_everything, write_everything
from .conftest import ROOT, run

CONFIGS = sorted((ROOT / 'configs').glob('*/*.py'))
CONFIGS = [c for c in CONFIGS if c.parent.name not in ('_base_', 'toy')]


@pytest.fixture(scope='module')
def home(tmp_path_factory) -> Path:
    """A folder with ``data/``, downloaded and prepared as by a user."""
    root = tmp_path_factory.mktemp('home')
    write_everything(root / 'data')
    prepare_everything(root)
    for folder in ('images', 'annotations'):
        folder = root / 'data' / 'ade' / 'ADEChallengeData2016' / folder
        shutil.copytree(folder / 'validation', folder / 'training')
    return root


@pytest.fixture(scope='module', autouse=True)
def tokens_once() -> Iterator[None]:
    """Prompts that configs share are split into tokens once."""
    with pytest.MonkeyPatch.context() as patch:
        encode = functools.cache(SimpleTokenizer.encode)
        patch.setattr(SimpleTokenizer, 'encode', encode)
        yield


@pytest.fixture(scope='module')
def recipes() -> set[str]:
    """Training recipes that were run: leaves differ in what they test."""
    return set()


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_trains_and_tests_a_step(path, home, recipes, monkeypatch):
    monkeypatch.chdir(home)
    cfg = _shallow(Config.fromfile(path, format_python_code=False))
    with _removed_afterwards(home / cfg.work_dir) as work_dir:
        runner = Runner.from_cfg(cfg)
        recipe = _training_recipe(cfg) if 'train_cfg' in cfg else None
        if recipe and recipe not in recipes:
            recipes.add(recipe)
            runner.train()
            checkpoint = str(work_dir / 'iter_1.pth')
            # In the same run, since building models takes long; whole second
            # runs are those of the toy configs.
            runner.resume(checkpoint)
            assert runner.iter == 1
            load_weights(runner.model, checkpoint)
        metrics = runner.test()
    crops = cfg.test_evaluator.type == 'CropAccuracyMetric'
    figure = 'accuracy' if crops else 'mIoU'
    assert 0 <= metrics[figure] <= 100


@pytest.mark.slow
def test_coco_stuff_at_true_size_through_mim(home):
    (config,) = (
        c for c in CONFIGS if 'catseg_clip-vit-b16_4xb1-80k_coco' in c.stem
    )
    with _removed_afterwards(home / 'true_size') as work_dir:
        output = run(
            *('mim', 'train', 'ovseg_mm', config, '--gpus', 0),
            *('--work-dir', work_dir, '--cfg-options'),
            *('model.clip.pretrained=None', 'train_cfg.max_iters=1'),
            'train_cfg.val_begin=10',
            'default_hooks.checkpoint.save_optimizer=False',
            # All of the weights, a quarter of the tokens.
            'model.backbone.input_size=[192,192]',
            'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False',
            'val_dataloader.num_workers=0',
            'val_dataloader.persistent_workers=False',
            cwd=home,
        )
    assert 'Saving checkpoint at 1 iterations' in output


@contextmanager
def _removed_afterwards(folder: Path) -> Iterator[Path]:
    """Checkpoints of all configs together would take 13 GB of the disk."""
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _shallow(cfg: Config) -> Config:
    """The config with random weights, few blocks and one iteration.

    Images are encoded at 6x6 tokens. Images, crops and windows have a quarter
    of their side. A batch has one image, one image is tested, and ten masks
    are proposed. The towers are narrow inside, and two templates are averaged.
    All other widths are those of the config, because the test looks for parts
    that do not fit each other.
    """
    arch = cfg.model.clip.arch
    if isinstance(arch, str):
        arch = open_clip.get_model_config(arch)
    arch['vision_cfg'].update(layers=2, mlp_ratio=1.0)
    arch['text_cfg'].update(layers=1, width=64, heads=1)
    arch['quick_gelu'] = True
    cfg.model.clip.update(arch=arch, pretrained=None)
    # Templates that are not averaged are channels of the head.
    if cfg.model.get('prompts', {}).get('average_templates'):
        templates = get_templates(cfg.model.prompts.templates)
        cfg.model.prompts.templates = templates[:2]
    for tower in _towers(cfg.model):
        tower.input_size = [6 * arch['vision_cfg']['patch_size']] * 2
        if 'out_indices' in tower:
            tower.out_indices = (0, 1)
        if 'depth' in tower.get('prompts', {}):
            tower.prompts.depth = 2
    if cfg.model.get('neck', {}).get('type') == 'CLIPLevelProjection':
        cfg.model.neck.num_levels = 2
        cfg.model.decode_head.group_sizes = (1, 1, 1)
    head = cfg.model.get('decode_head', {})
    if head.get('type') == 'CATSegCostHead':
        head.num_layers = 1
    proposals = head.get('proposals')
    if proposals is not None:
        proposals.decoder.update(num_queries=10, num_layers=2)
    cfg.load_from = None  # a first stage that was not trained here
    guidance = cfg.model.get('backbone', {}).get('guidance')
    if guidance is not None:
        guidance.init_cfg = None
        if 'depths' in guidance:
            guidance.depths = [1, 1, 1]
    loaders = [
        cfg[f'{split}_dataloader']
        for split in ('train', 'val', 'test')
        if f'{split}_dataloader' in cfg
    ]
    for loader in loaders:
        _quarter(loader.dataset)
        loader.update(num_workers=0, persistent_workers=False)
    tested = cfg.test_dataloader.dataset
    if issubclass(DATASETS.get(tested.type), OpenVocabDataset):
        tested.indices = 1
    _quarter(cfg.model.get('data_preprocessor', {}))
    test_cfg = cfg.model.get('test_cfg', {})
    for key in ('crop_size', 'stride', 'canvas'):
        if test_cfg.get(key):
            test_cfg[key] = [side // 4 for side in test_cfg[key]]
    if 'context_encoder' in cfg.model:
        _make_context_shallow(cfg.model, arch['vision_cfg']['patch_size'])
    if 'depths' in cfg.model.get('backbone', {}):
        cfg.model.backbone.update(depths=(1, 1, 1, 1), init_cfg=None)
    if 'depth' in cfg.model.get('backbone', {}):
        cfg.model.backbone.update(depth=50, init_cfg=None)
    if 'train_cfg' in cfg:
        cfg.train_dataloader.batch_size = 1
        cfg.train_cfg.update(max_iters=1, val_begin=10)  # tests follow
    cfg.work_dir = f'work_dirs/{Path(cfg.filename).stem}'
    cfg.launcher = 'none'
    return cfg


def _quarter(node: dict | list) -> None:
    """Divide the sides of images by four, wherever a config has them."""
    if isinstance(node, dict):
        for key in ('scale', 'crop_size', 'size'):
            sides = node.get(key)
            # Shares of an area are given likewise.
            if isinstance(sides, (tuple, list)) and max(sides) > 4:
                node[key] = tuple(side // 4 for side in sides)
            elif isinstance(sides, int):
                node[key] = sides // 4
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, (dict, list)):
            _quarter(value)


def _make_context_shallow(model: dict, patch_size: int) -> None:
    """Tap the two blocks that are there; regions and tokens fit."""
    model.region_encoder.update(region_size=6 * patch_size)
    model.region_encoder.clip.pop('input_size')
    model.region_encoder.shift.blocks = (0,)
    if 'decode_head' in model:
        model.decode_head.integration.update(blocks=(0, 1), sigmas=(2, 1))


def _training_recipe(cfg: Config) -> str:
    """What training depends on, to compare configs."""
    tested = ('vocabulary', 'test_cfg', 'region_encoder')
    model = {k: v for k, v in cfg.model.items() if k not in tested}
    model['decode_head'] = dict(cfg.model.get('decode_head', {}))
    for key in ('ensemble_weight', 'keep_no_object'):
        model['decode_head'].pop(key, None)
    model.setdefault('train_vocabulary', cfg.model.vocabulary)
    parts = ('train_dataloader', 'optim_wrapper', 'param_scheduler')
    return json.dumps([model, *(cfg[part] for part in parts)], default=str)


def _towers(node: dict) -> Iterator[dict]:
    """The CLIP image towers of a model's config."""
    if node.get('type') == 'CLIPViT':
        yield node
    for value in node.values():
        if isinstance(value, dict):
            yield from _towers(value)
