# SPDX-License-Identifier: Apache-2.0
"""The project's six configs are the ones that this package ships."""

import functools

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from ovseg_mm.compat.cat_seg import translate
from ovseg_mm.utils.paths import find_config

RESNET = dict(
    type='ResNet',
    depth=101,
    num_stages=3,
    out_indices=(0, 1, 2),
    dilations=(1, 1, 1),
    strides=(1, 2, 2),
    norm_cfg=dict(type='SyncBN', requires_grad=True),
    norm_eval=False,
    style='pytorch',
    contract_dilation=True,
    init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet101'),
)
SWIN_WEIGHTS = (
    'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/'
    'swin_base_patch4_window12_384_20220317-55b0104a.pth'
)
SWIN = dict(
    type='SwinTransformer',
    pretrain_img_size=384,
    embed_dims=128,
    depths=[2, 2, 18],
    num_heads=[4, 8, 16],
    window_size=12,
    mlp_ratio=4,
    qkv_bias=True,
    qk_scale=None,
    drop_rate=0.0,
    attn_drop_rate=0.0,
    drop_path_rate=0.3,
    patch_norm=True,
    out_indices=(0, 1, 2),
    init_cfg=dict(type='Pretrained', checkpoint=SWIN_WEIGHTS),
)


def project_model(clip, guidance, words, pooling, text_channels):
    """A model as the project's configs have it."""
    is_swin = guidance is SWIN
    neck = dict(
        type='CATSegAggregator',
        text_guidance_dim=text_channels,
        appearance_guidance_dim=512 if is_swin else 1024,
        num_layers=2,
    )
    if pooling:
        neck['pooling_size'] = pooling
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            size=(384, 384),
            bgr_to_rgb=True,
            pad_val=0,
            seg_pad_val=255,
        ),
        backbone=dict(
            type='CLIPOVCATSeg',
            feature_extractor=guidance,
            train_class_json=f'data/{words}.json',
            test_class_json=f'data/{words}.json',
            clip_pretrained=clip,
            clip_finetune='attention',
        ),
        neck=neck,
        decode_head=dict(
            type='CATSegHead',
            in_channels=128,
            channels=128,
            num_classes=171,
            decoder_guidance_dims=(256, 128) if is_swin else (512, 256),
            loss_decode=dict(
                type='CrossEntropyLoss',
                use_sigmoid=False,
                loss_weight=1.0,
                avg_non_ignore=True,
            ),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='slide', stride=(384, 384), crop_size=(384, 384)),
    )


R101, COCO = 'clip-vit-b16-r101_4xb2-80k', 'coco-stuff164k-384x384'
# Our config; the project's model; millions of parameters of guidance, CLIP
# and head, and of CLIP those that are trained.
CASES = [
    (
        f'catsegv1_{R101}_{COCO}',
        ('ViT-B/16', RESNET, 'coco', None, 512),
        (27.5, 149.6, 3.485, 28.5),
    ),
    (
        f'catsegv1_{R101}_ade20k-384x384',
        ('ViT-B/16', RESNET, 'ade150', (1, 1), 512),
        (27.5, 149.6, 3.485, 28.5),
    ),
    (
        f'catsegv1_{R101}_pascal-context-59-384x384',
        ('ViT-B/16', RESNET, 'pc59', (1, 1), 512),
        (27.5, 149.6, 3.485, 28.5),
    ),
    (
        f'catsegv1_clip-vit-l14-336-swin-b_4xb1-80k_{COCO}',
        ('ViT-L/14@336px', SWIN, 'coco', None, 768),
        (59.6, 427.9, 2.833, 101.4),
    ),
    (
        f'catsegv1_clip-vit-h14-swin-b_4xb1-80k_{COCO}',
        ('ViT-H', SWIN, 'coco', None, 1024),
        (59.6, 986.5, 2.873, 210.6),
    ),
    (
        f'catsegv1_clip-vit-bigg14-swin-b_4xb1-80k_{COCO}',
        ('ViT-G', SWIN, 'coco', None, 1280),
        (59.6, 2540, 2.903, 532.9),
    ),
]
IDS = [case[0] for case in CASES]


def plain(value):
    """Lists for tuples, and nothing that says nothing."""
    if isinstance(value, dict):
        items = {key: plain(item) for key, item in value.items()}
        return {k: v for k, v in items.items() if v not in (None, {})}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


@pytest.mark.filterwarnings('ignore:.* does not exist')
@pytest.mark.parametrize(('name', 'project', '_'), CASES, ids=IDS)
def test_translated_models_are_the_shipped_ones(
    name, project, _, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    theirs = plain(translate(project_model(*project)))
    ours = plain(Config.fromfile(find_config(name)).model.to_dict())
    # What our options are by default, and what only memory depends on.
    defaults = dict(
        embed_dims=128,
        num_layers=2,
        spatial=dict(
            guidance_dims=128, num_heads=4, window_size=12, mlp_ratio=4
        ),
        classwise=dict(guidance_dims=128, num_heads=4, attention='linear'),
        decoder=dict(dims=[64, 32], guidance_dims=[32, 16]),
    )
    # Same weights and outputs as SwinTransformer, which old configs name.
    guidance = ours['backbone']['guidance']
    guidance['type'] = guidance['type'].removeprefix('Fused')
    head = ours['decode_head']
    for key, value in defaults.items():
        given = head.get(key, value)
        head[key] = {**value, **given} if isinstance(value, dict) else given
    side = head['classwise']['pooling']
    head['classwise']['pooling'] = [side, side]
    ours['test_cfg'].pop('window_batch')
    theirs['test_cfg'].pop('keep_scores')
    for key in ('depth', 'length'):
        theirs['backbone']['clip']['prompts'].pop(key)
    ours['backbone']['guidance'].pop('strides')
    theirs['backbone']['guidance'].pop('strides', None)
    for key in ('mean', 'std', 'guidance_mean', 'guidance_std'):
        theirs['backbone'].pop(key)
    assert theirs == ours


def millions(parameters) -> float:
    return sum(parameter.numel() for parameter in parameters) / 1e6


@pytest.mark.parametrize(('name', '_', 'sizes'), CASES, ids=IDS)
def test_parameters_at_full_size(name, _, sizes, monkeypatch):
    init_default_scope('mmseg')
    # Stochastic depth asks for values, which there are none of.
    linspace = functools.partial(torch.linspace, device='cpu')
    monkeypatch.setattr(torch, 'linspace', linspace)
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(find_config(name)).model)
    clip = model.backbone.clip
    towers = [*clip.parameters(), *model.text_encoder.parameters()]
    assert (
        millions(model.backbone.guidance.parameters()),
        millions(towers),
        millions(model.decode_head.parameters()),
        millions(p for p in towers if p.requires_grad),
    ) == pytest.approx(sizes, rel=2e-3)


@pytest.mark.parametrize('clip', ['h14', 'bigg14'])
def test_sharded_configs_are_the_whole_ones(clip):
    stem = f'catsegv1_clip-vit-{clip}-swin-b_4xb1-80k'
    whole = Config.fromfile(find_config(f'{stem}_{COCO}')).to_dict()
    sharded = Config.fromfile(find_config(f'{stem}-fsdp_{COCO}')).to_dict()
    assert sharded.pop('runner_type') == 'FlexibleRunner'
    assert sharded.pop('strategy')['state_dict_cfg'] == 'full'
    assert sharded == whole


def test_schedule_and_rates():
    cfg = Config.fromfile(find_config(CASES[0][0]))
    warmup, cosine = cfg.param_scheduler
    assert (warmup.start_factor, warmup.begin, warmup.end) == (0.01, 0, 500)
    assert (cosine.begin, cosine.end, cosine.T_max) == (500, 80000, 79500)
    assert cosine.eta_min == 0
    assert cfg.train_cfg.max_iters == 80000
    assert cfg.train_cfg.val_interval == 4000
    assert cfg.default_hooks.checkpoint.interval == 4000
    assert cfg.optim_wrapper.optimizer.lr == 2e-4
    assert cfg.optim_wrapper.optimizer.weight_decay == 1e-4
    assert cfg.optim_wrapper.paramwise_cfg == dict(
        lr_mult=dict(backbone=0.01), norm_decay=True
    )
    assert cfg.train_dataloader.batch_size == 2
