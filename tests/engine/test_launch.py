# SPDX-License-Identifier: Apache-2.0
"""``tools/train.py`` and ``tools/test.py`` in this process."""

import argparse
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from ovseg_mm.engine import launch

from ..end_to_end.conftest import TINY, data_options, tool

__all__ = ['tool']


def arguments(**changes) -> argparse.Namespace:
    options = dict(
        config=str(TINY),
        work_dir=None,
        cfg_options=None,
        launcher='none',
        local_rank=0,
    )
    return argparse.Namespace(**{**options, **changes})


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    return tmp_path


def test_work_dir(here):
    assert launch.load_config(arguments()).work_dir == 'work_dirs/tiny'
    options = dict(work_dir='named')
    cfg = launch.load_config(arguments(cfg_options=options))
    assert cfg.work_dir == 'named'
    cfg = launch.load_config(arguments(cfg_options=options, work_dir='other'))
    assert cfg.work_dir == 'other'
    assert (here / 'other').is_dir()


def test_unwritable_work_dir(here):
    (here / 'file').write_text('')
    with pytest.raises(OSError, match='file cannot be written .*--work-dir'):
        launch.load_config(arguments(work_dir='file'))


def test_options_override_the_config(here):
    cfg = launch.load_config(
        arguments(
            cfg_options={'train_cfg.max_iters': 3, 'model.vocabulary': ['a']},
            launcher='pytorch',
        )
    )
    assert cfg.train_cfg.max_iters == 3
    assert cfg.model.vocabulary == ['a']
    assert cfg.launcher == 'pytorch'


def test_amp(monkeypatch):
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(lr=1))))
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'AutocastOptimWrapper'
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'AutocastOptimWrapper'
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper == dict(
        type='AmpOptimWrapper', loss_scale='dynamic'
    )


def test_tta_needs_a_config_that_has_it():
    with pytest.raises(ValueError, match='--tta needs tta_pipeline'):
        launch.enable_tta(Config(dict(tta_model=dict())))


def test_proposals_are_drawn_of_whole_images_alone(tmp_path):
    model = dict(type='OpenVocabMaskSegmentor', test_cfg=dict(mode='slide'))
    hooks = dict(visualization=dict(type='SegVisualizationHook'))
    cfg = Config(dict(model=model, default_hooks=hooks, visualizer=dict()))
    arguments = cfg, str(tmp_path), False, 0.0, 5
    with pytest.raises(ValueError, match='model.test_cfg.mode=whole'):
        launch.enable_pictures(*arguments)
    cfg.model.test_cfg.mode = 'whole'
    launch.enable_pictures(*arguments)
    assert cfg.model.test_cfg.keep_proposals == 5


def test_output_folder_of_one_or_several_metrics(here):
    cfg = Config(dict(test_evaluator=dict(type='OpenVocabIoUMetric')))
    launch.set_output_dir(cfg, 'out')
    assert cfg.test_evaluator.output_dir == 'out'
    cfg = Config(dict(test_evaluator=[dict(type='OpenVocabIoUMetric')]))
    launch.set_output_dir(cfg, 'out')
    assert cfg.test_evaluator[0].output_dir == 'out'
    (here / 'file').write_text('')
    with pytest.raises(OSError, match='--out'):
        launch.set_output_dir(cfg, 'file')


@pytest.mark.slow
def test_train_resume_and_test(tool, tiny_data, tmp_path):
    options = [
        *('--work-dir', tmp_path / 'work', '--cfg-options'),
        *data_options(tiny_data),
        *('train_cfg.val_interval=10', 'default_hooks.checkpoint.interval=1'),
    ]
    status, _ = tool('train', TINY, '--amp', *options, 'train_cfg.max_iters=3')
    assert status == 0
    status, output = tool(
        'train', TINY, '--resume', *options, 'train_cfg.max_iters=4'
    )
    assert status == 0
    assert 'resumed epoch: 0, iter: 3' in output
    assert sorted(p.name for p in (tmp_path / 'work').glob('*.pth')) == [
        'iter_3.pth',
        'iter_4.pth',
    ]
    checkpoint = tmp_path / 'work' / 'iter_4.pth'
    weights = torch.load(checkpoint, weights_only=True)['state_dict']
    assert {value.dtype for value in weights.values()} == {torch.float32}
    status, output = tool(
        'test',
        TINY,
        checkpoint,
        '--show-dir',
        tmp_path / 'show',
        '--amp',
        *options[:-2],
    )
    assert status == 0
    assert 'mIoU' in output
    assert Config.fromfile(tmp_path / 'work' / 'tiny.py').test_cfg.fp16
    assert len(list((tmp_path / 'show').rglob('*.png'))) == 5


def test_a_second_stage_is_resumed_from_its_own_folder(
    tool, tiny_data, trained, tmp_path
):
    options = [
        *('--resume', '--work-dir', tmp_path / 'second', '--cfg-options'),
        *data_options(tiny_data),
        *('train_cfg.val_interval=10', f'load_from={trained}'),
    ]
    # The first stage ended with iteration 2.
    status, output = tool('train', TINY, *options, 'train_cfg.max_iters=1')
    assert status == 0
    assert 'resumed epoch' not in output
    assert (tmp_path / 'second' / 'iter_1.pth').is_file()
    status, output = tool('train', TINY, *options, 'train_cfg.max_iters=2')
    assert status == 0
    assert 'resumed epoch: 0, iter: 1' in output
    assert (tmp_path / 'second' / 'iter_2.pth').is_file()


def test_resume_without_a_checkpoint_begins_anew(tool, tiny_data, tmp_path):
    status, output = tool(
        'train',
        TINY,
        *('--resume', '--work-dir', tmp_path / 'new', '--cfg-options'),
        *data_options(tiny_data),
        *('train_cfg.max_iters=1', 'train_cfg.val_interval=10'),
    )
    assert status == 0
    assert 'iter: ' not in output.split('Checkpoints will be saved')[0]
    assert (tmp_path / 'new' / 'iter_1.pth').is_file()


@pytest.mark.parametrize(
    'name, options, words',
    [
        ('train', ['nothing.py'], 'error: nothing.py: there is no such'),
        ('train', [TINY, '--launcher', 'cloud'], 'invalid choice'),
        ('train', [TINY, '--cfg-options', 'lr'], "'lr' is not key=value"),
        (
            'train',
            [TINY, '--cfg-options', 'model.decode_head.depth=3'],
            "CATSegCostHead.*'depth'",
        ),
        (
            'train',
            [TINY, '--cfg-options', 'model.type=Nothing'],
            "model.type: there is no model 'Nothing'",
        ),
        (
            'train',
            [
                *(TINY, '--work-dir', 'work', '--cfg-options'),
                'test_dataloader.dataset.type=OpenVocabDatset',
            ],
            "test_dataloader.*did you mean 'OpenVocabDataset'",
        ),
        (
            'train',
            [
                *(TINY, '--cfg-options'),
                'train_dataloader.dataset.label_map={0:sky}',
            ],
            r"label_map=\{0: 'sky'\} is not a dict from values",
        ),
        (
            'train',
            [TINY, '--cfg-options', 'model.test_cfg.crop_size=64'],
            r'in pixels; write \(64, 64\)',
        ),
        (
            'test',
            [
                *(TINY, 'none', '--cfg-options'),
                'model.test_cfg.stride=(42.67, 42.67)',
            ],
            r'stride=\(42.67, 42.67\); .*; pixels are whole numbers',
        ),
        (
            'test',
            [TINY, 'gone.pth', '--cfg-options', 'modle.test_cfg.mode=whole'],
            "did you mean 'model'",
        ),
        # Before the model is built, whose weights do not exist either.
        (
            'test',
            [
                *(TINY, 'gone.pth', '--cfg-options'),
                'model.clip.custom_clip_weights=nowhere.pt',
            ],
            'error: gone.pth does not exist',
        ),
        ('test', [TINY, 'gone.pth'], 'error: gone.pth does not exist'),
        ('test', [TINY], 'error: the model needs a checkpoint: '),
    ],
)
def test_bad_options(tool, tiny_data, name, options, words):
    if '--cfg-options' in options or name == 'test':
        options = [*options, '--cfg-options', *data_options(tiny_data)]
    status, output = tool(name, *options)
    assert status == 2
    assert not Path('work').exists()
    assert re.search(words, output.splitlines()[-1])


def test_activation_checkpointing_keeps_all_gradients(tiny_cfg):
    tiny_cfg.activation_checkpointing = ['backbone', 'neck']
    runner = launch.build_runner(tiny_cfg)
    attention = runner.model.backbone.transformer.resblocks[0].attn
    before = attention.q_proj_weight.detach().clone()
    runner.train()
    assert runner.model.backbone.forward.__wrapped__ is not None
    assert not torch.equal(attention.q_proj_weight, before)
