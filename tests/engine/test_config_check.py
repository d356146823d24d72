# SPDX-License-Identifier: Apache-2.0
"""Misspelt names of a config are told before anything is built."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmengine.hooks import CheckpointHook
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads import DepthwiseSeparableASPPHead
from torch.optim import AdamW

from ovseg_mm.apis import OpenVocabInferencer, evaluate
from ovseg_mm.datasets import OpenVocabDataset
from ovseg_mm.engine.config_check import check_config
from ovseg_mm.engine.config_options import merge_options
from ovseg_mm.engine.signatures import accepted_arguments, named_arguments
from ovseg_mm.models.backbones import CLIPViT
from ovseg_mm.utils.errors import InputError
from ovseg_mm.utils.paths import resource

TINY = Path(__file__).parents[1] / 'end_to_end' / 'tiny.py'


@pytest.fixture
def cfg() -> Config:
    return Config.fromfile(TINY)


def test_sound_configs(cfg):
    check_config(cfg)
    names = (
        'cascade_clip/cascadeclip_clip-vit-b16_4xb4-20k_*cascade-trans*.py',
        'cat_seg_v1/*bigg14-swin-b_4xb1-80k-fsdp*.py',
        'scan/scan_clip-vit-b16-swin-b_8xb4-120k_ade20k-847*.py',
        'scan/scan-clip_vit-b16*.py',
        'zsseg/zsseg-prompts_*voc20*.py',
    )
    for name in names:
        (path,) = resource('configs').glob(name)
        check_config(Config.fromfile(path))


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        # Types, in every kind of part.
        ({'model.type': 'OpenVocabSegmentr'}, 'OpenVocabSegmentor'),
        ({'model.type': 'Nope'}, 'custom_imports'),
        ({'model.type': 'OpenVocabIoUMetric'}, 'is a metric'),
        ({'model.backbone.type': 'CLIPViTT'}, 'CLIPViT'),
        ({'model.decode_head.type': 'CATSegHead'}, 'CATSegCostHead'),
        (
            {'model.decode_head.loss_decode': {'type': 'CrossEntropLoss'}},
            'CrossEntropyLoss',
        ),
        ({'model.text_encoder.type': 'ovseg.X'}, 'ovseg is not installed'),
        (
            {'train_dataloader.dataset.type': 'OpenVocabDatset'},
            'OpenVocabDataset',
        ),
        ({'val_dataloader.dataset.type': 'Nope'}, 'custom_imports'),
        (
            {'test_dataloader.dataset.pipeline.0.type': 'LoadImage'},
            'LoadImageFromFile',
        ),
        ({'tta_pipeline.1.transforms.0.1.type': 'RandomFlp'}, 'RandomFlip'),
        ({'train_dataloader.sampler.type': 'InfinitSampler'}, 'InfiniteSam'),
        (
            {'train_dataloader.collate_fn': {'type': 'pseudo_colate'}},
            'pseudo_collate',
        ),
        ({'val_evaluator.type': 'OpenVocabIouMetrics'}, 'OpenVocabIoUMetric'),
        ({'test_evaluator': [{'type': 'IouMetric'}]}, "'IoUMetric'"),
        ({'optim_wrapper.type': 'AmpOptimWraper'}, 'AmpOptimWrapper'),
        ({'optim_wrapper.optimizer.type': 'AdmW'}, 'AdamW'),
        (
            {'optim_wrapper.constructor': 'OpenVocabOptimWraperConstructor'},
            'OpenVocabOptimWrapperConstructor',
        ),
        ({'param_scheduler': [{'type': 'LinearRL'}]}, 'LinearLR'),
        ({'default_hooks.timer.type': 'IterTimrHook'}, 'IterTimerHook'),
        ({'custom_hooks.1.type': 'VocabularHook'}, 'VocabularyHook'),
        ({'visualizer.type': 'OpenVocabVisualiser'}, 'OpenVocabVisualizer'),
        ({'visualizer.vis_backends.0.type': 'LocalBackend'}, 'LocalVisBack'),
        ({'train_cfg.type': 'IterBasedLoop'}, 'IterBasedTrainLoop'),
        ({'tta_model.type': 'OpenVocabTTA'}, 'OpenVocabTTAModel'),
        ({'log_processor.type': 'LogProcesor'}, 'LogProcessor'),
        # Arguments.
        ({'train_dataloader.dataset.img_sufix': '.jpg'}, 'img_suffix'),
        ({'model.decode_head.num_layer': 1}, 'num_layers'),
        ({'model.decoder_head.num_layers': 1}, 'decode_head'),
        ({'model.tset_cfg.mode': 'whole'}, 'test_cfg'),
        ({'model.prompts.template': ['a {}']}, 'templates'),
        ({'model.backbone.prompts.dept': 2}, 'depth'),
        ({'model.decode_head.spatial.windowsize': 3}, 'window_size'),
        ({'model.decode_head.classwise.pool': 1}, 'pooling'),
        ({'model.decode_head.decoder.dim': (8, 8)}, 'dims'),
        ({'train_dataloader.batchsize': 3}, 'batch_size'),
        (
            {'train_dataloader.dataset.pipeline.2.cropsize': (8, 8)},
            'crop_size',
        ),
        ({'val_evaluator.output_dirs': 'x'}, 'output_dir'),
        ({'optim_wrapper.optimizer.weigth_decay': 0.1}, 'weight_decay'),
        ({'optim_wrapper.clip_grads': {'max_norm': 1}}, 'clip_grad'),
        ({'train_cfg.max_iter': 3}, 'max_iters'),
        ({'default_hooks.checkpoint.intervall': 3}, 'interval'),
        ({'default_hooks.checkpont.interval': 3}, 'checkpoint'),
        ({'log_processor.windowsize': 3}, 'window_size'),
        ({'env_cfg.cudnn_benchmrk': True}, 'cudnn_benchmark'),
        ({'randomness.sed': 1}, 'seed'),
        ({'test_cfg.mode': 'whole'}, 'model.test_cfg.mode'),
        ({'model.crop_size': (64, 64)}, 'model.test_cfg.crop_size'),
        (
            {'param_scheduler': [{'type': 'PolyLR', 'powr': 0.9}]},
            "'power'",
        ),
        # Dicts without a type.
        ({'train_dataloader.dataset.data_prefix.img_pth': 'x'}, 'img_path'),
        ({'val_dataloader.dataset.data_prefix.labels': 'x'}, 'seg_map_path'),
        ({'val_dataloader.dataset.metainfo.clases': ['x']}, "'classes'"),
        ({'val_dataloader.dataset.metainfo.CLASSES': ['x']}, "'classes'"),
        ({'optim_wrapper.paramwise_cfg.lr_mul.backbone': 0.1}, "'lr_mult'"),
        (
            {
                'optim_wrapper.constructor': 'DefaultOptimWrapperConstructor',
                'optim_wrapper.paramwise_cfg': {
                    '_delete_': True,
                    'custom_key': {},
                },
            },
            "'custom_keys'",
        ),
        (
            {'optim_wrapper.constructor': None},
            "constructor='OpenVocabOptimWrapperConstructor'",
        ),
        (
            {
                'optim_wrapper.constructor': None,
                'optim_wrapper.paramwise_cfg': {
                    '_delete_': True,
                    'custom_keys': {'backbone': {'lr_mul': 0.1}},
                },
            },
            r"custom_keys\.backbone .*'lr_mult'",
        ),
        (
            {
                'optim_wrapper.constructor': (
                    'LearningRateDecayOptimizerConstructor'
                ),
                'optim_wrapper.paramwise_cfg': {
                    '_delete_': True,
                    'decay_rat': 0.9,
                },
            },
            "'decay_rate'",
        ),
        ({'optim_wrapper.clip_grad.max_nrm': 1}, "'max_norm'"),
        (
            {'optim_wrapper.clip_grad': {'type': 'value', 'max_norm': 1}},
            'choose from clip_value',
        ),
        ({'optim_wrapper.clip_grad.type': 'mean'}, "'norm' or 'value'"),
        (
            {'train_dataloader.sampler': {'_delete_': True, 'shuffle': 1}},
            'sampler has no type',
        ),
        ({'train_dataloader.sampler.shufle': True}, "'shuffle'"),
        ({'train_cfg': {'_delete_': True, 'max_iters': 3}}, 'has no type'),
        (
            {'train_cfg': {'_delete_': True, 'by_epoch': 1, 'max_epoch': 3}},
            "'max_epochs'",
        ),
        ({'env_cfg.dist_cfg.backnd': 'gloo'}, "'backend'"),
        ({'compile.bakend': 'eager'}, "'backend'"),
        (
            {'default_hooks.checkpoint.backend_args.backend': 'atomc'},
            "'atomic'",
        ),
        (
            {
                'log_processor.custom_cfg': [
                    {'data_src': 'loss', 'window_sise': 3}
                ]
            },
            "'window_size'",
        ),
        # Parts that are missing or not dicts.
        ({'model': None}, 'tiny.py has no model'),
        ({'model': 3}, 'model=3 is not a dict'),
        ({'model': [{'type': 'X'}]}, r'model=\[.*is not a dict'),
        ({'default_hooks': []}, r'default_hooks=\[\] is not a dict'),
        ({'model': {'_delete_': True, 'neck': None}}, 'model has no type'),
        ({'model.backbone': 'CLIPViT'}, "model.backbone='CLIPViT' is not a d"),
        ({'train_dataloader': 3}, 'train_dataloader=3 is not a dict'),
        ({'optim_wrapper': None}, 'has no optim_wrapper; training needs'),
        ({'test_evaluator': None}, 'has no test_evaluator; testing needs'),
        # A hook that works nowhere.
        (
            {'custom_hooks': [{'type': 'NaiveVisualizationHook'}]},
            'OpenVocabVisualizationHook',
        ),
        # Names of figures.
        ({'default_hooks.checkpoint.save_best': 'mIou'}, "'mIoU'"),
        (
            {'default_hooks.checkpoint.save_best': ['aAcc', 'mIoU_unsen']},
            'mIoU_unseen',
        ),
        (
            {
                'val_evaluator': {
                    '_delete_': True,
                    'type': 'IoUMetric',
                    'iou_metrics': ['mIou'],
                }
            },
            "'mIoU'",
        ),
        # Pipelines and data sets that can only fail.
        (
            {
                'val_dataloader.dataset.pipeline': [
                    {'type': 'LoadImageFromFile'},
                    {'type': 'LoadOpenVocabAnnotations'},
                    {'type': 'Resize', 'scale': (64, 64)},
                    {'type': 'PackSegInputs'},
                ]
            },
            'put LoadOpenVocabAnnotations after',
        ),
        (
            {
                'train_dataloader.dataset.pipeline': [
                    {'type': 'LoadImageFromFile'},
                    {'type': 'RandomCrop', 'crop_size': (64, 64)},
                    {'type': 'LoadOpenVocabAnnotations'},
                    {'type': 'PackSegInputs'},
                ]
            },
            'put LoadOpenVocabAnnotations first',
        ),
        (
            {
                'train_dataloader.dataset': {
                    '_delete_': True,
                    'type': 'ConcatDataset',
                    'datasets': [
                        {
                            'type': 'OpenVocabDataset',
                            'data_prefix': {'img_path': 'x'},
                            'vocabulary': words,
                        }
                        for words in (['cat', 'dog'], ['cat', 'cow'])
                    ],
                }
            },
            "'cow' where .*'dog'",
        ),
    ],
)
def test_misspelt_names(cfg, options, words):
    merge_options(cfg, options)
    with pytest.raises(InputError, match=words) as error:
        check_config(cfg)
    assert '\n' not in str(error.value)


def test_types_that_are_not_names(cfg):
    cfg.model.backbone.type = CLIPViT
    cfg.train_dataloader.dataset.type = OpenVocabDataset
    cfg.optim_wrapper.optimizer.type = AdamW
    check_config(cfg)
    cfg.model.backbone.last_blok = 'value'
    with pytest.raises(InputError, match='CLIPViT has no .*last_block'):
        check_config(cfg)
    del cfg.model.backbone.last_blok
    cfg.model.backbone.type = 3
    with pytest.raises(InputError, match='backbone.type=3 is not the name'):
        check_config(cfg)


def test_scope(cfg):
    cfg.pop('default_scope')
    with pytest.raises(InputError, match="set default_scope = 'mmseg'"):
        check_config(cfg)
    check_config(cfg, scope='mmseg')


def test_own_modules(cfg, tmp_path, monkeypatch):
    (tmp_path / 'own_parts.py').write_text(
        'from mmengine.hooks import Hook\n'
        'from mmengine.registry import HOOKS\n'
        '@HOOKS.register_module(force=True)\n'
        'class OwnCheckedHook(Hook):\n'
        '    def __init__(self, inner, **kwargs):\n'
        '        self.kwargs = kwargs\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        f"_base_ = ['{TINY}']\n"
        "custom_imports = dict(imports=['ovseg_mm', 'own_parts'])\n"
        'custom_hooks = [dict(type="OwnCheckedHook", other=1)]\n'
    )
    (tmp_path / 'own.py').write_text(text)
    check_config(Config.fromfile(tmp_path / 'own.py'))


def test_only_some_keys(cfg):
    cfg.train_dataloader.dataset.type = 'Nope'
    check_config(cfg, ('model', 'test_dataloader'))
    cfg.model.type = 'Nope'
    with pytest.raises(InputError):
        check_config(cfg, ('model', 'test_dataloader'))


def test_accepted_arguments():
    names = accepted_arguments(OpenVocabDataset)
    assert {'vocabulary', 'img_suffix', 'lazy_init'} <= names
    assert 'kwargs' not in names and 'self' not in names
    assert 'mean' not in names
    assert {'pool_scales', 'dilations', 'in_channels'} - accepted_arguments(
        DepthwiseSeparableASPPHead
    ) == {'pool_scales'}
    assert accepted_arguments(CheckpointHook) is None
    assert 'interval' in named_arguments(CheckpointHook)
    assert 'datasets' in accepted_arguments(ConcatDataset)
    assert 'auxiliary_head' in accepted_arguments(EncoderDecoder)
    assert 'lr' in accepted_arguments(AdamW)

    class Takes:
        def __init__(self, a, **kwargs):
            self.rest = dict(**kwargs)

    assert accepted_arguments(Takes) is None


def test_apis_check_before_they_work(tmp_path):
    checkpoint = tmp_path / 'empty.pth'
    checkpoint.touch()
    with pytest.raises(InputError, match='CLIPViT'):
        OpenVocabInferencer(
            TINY, checkpoint, 'cpu', {'model.backbone.type': 'CLIPVit2'}
        )
    work = tmp_path / 'work'
    options = {'test_evaluator.type': 'OpenVocabIoUMetrc'}
    with pytest.raises(InputError, match='OpenVocabIoUMetric'):
        evaluate(TINY, checkpoint, [TINY], work, cfg_options=options)
    assert not work.exists()
