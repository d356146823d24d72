# SPDX-License-Identifier: Apache-2.0
"""Classes in the place of names, as pure-Python configs have them."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmseg.registry import MODELS
from torch import nn

from ovseg_mm.engine import distributed, launch
from ovseg_mm.models import (
    CATSegCostHead,
    CLIPPromptedTextTransformer,
    CLIPTextTransformer,
    CLIPViT,
    OpenVocabMaskSegmentor,
    OpenVocabSegmentor,
)
from ovseg_mm.models.clip_towers import with_tower_options
from ovseg_mm.models.layers.clip_transformer import QuickGELU
from ovseg_mm.models.region_encoders import CLIPRegionEncoder
from ovseg_mm.utils.config_types import is_type, type_name, type_of

from ..tiny import clip_arch

KINDS = ['CLIPViT', 'mmseg.CLIPViT', 'ovseg_mm.models.CLIPViT', CLIPViT]


@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_a_class_has_many_names(kind):
    cfg = dict(type=kind)
    assert type_of(cfg, MODELS) is CLIPViT
    assert is_type(cfg, (CLIPViT, CLIPTextTransformer), MODELS)
    assert not is_type(cfg, CLIPTextTransformer, MODELS)
    assert type_name(cfg) == 'CLIPViT'


def test_names_that_nothing_has():
    for cfg in ({}, dict(type='NoSuchThing'), dict(type='no.such.Thing')):
        assert type_of(cfg, MODELS) is None
        assert not is_type(cfg, nn.Module, MODELS)


@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_towers_get_the_options_of_the_model(kind):
    clip = dict(arch='ViT-L-14', pretrained='openai', finetune='attention')
    wrapped = dict(type=CLIPRegionEncoder, clip=dict(type=kind, arch='RN50'))
    assert with_tower_options(wrapped, clip) == dict(
        type=CLIPRegionEncoder,
        clip=dict(
            type=kind, arch='RN50', pretrained='openai', finetune='attention'
        ),
    )


def test_towers_of_a_users_own_class_get_them_too():
    class OwnTower(CLIPPromptedTextTransformer):
        pass

    clip = dict(arch='ViT-L-14', custom_clip_weights='x.pt')
    assert with_tower_options(dict(type=OwnTower), clip) == dict(
        type=OwnTower, arch='ViT-L-14'
    )


def test_a_model_of_classes_is_the_model_of_names():
    arch = clip_arch()

    def build(segmentor, tower, text, head):
        torch.manual_seed(0)
        return MODELS.build(
            dict(
                type=segmentor,
                clip=dict(arch=arch, pretrained='openai', finetune='all'),
                vocabulary=['cat', 'sky'],
                backbone=dict(type=tower),
                text_encoder=dict(type=text),
                decode_head=dict(
                    type=head, text_channels=16, appearance_channels=16
                ),
            )
        )

    classes = (OpenVocabSegmentor, CLIPViT, CLIPTextTransformer)
    ours = build(*classes, CATSegCostHead)
    names = [kind.__name__ for kind in (*classes, CATSegCostHead)]
    named = build(*names)
    assert isinstance(
        ours.backbone.transformer.resblocks[0].mlp.gelu, QuickGELU
    )
    wanted = dict(named.named_parameters())
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, wanted[name])
        assert parameter.requires_grad == wanted[name].requires_grad
    assert all(p.requires_grad for p in ours.backbone.parameters())


def test_mixed_precision_of_a_wrapper_that_is_a_class(monkeypatch):
    monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
    for kind, wanted in (
        (OptimWrapper, 'AutocastOptimWrapper'),
        ('mmengine.OptimWrapper', 'AutocastOptimWrapper'),
        ('NoSuchWrapper', 'NoSuchWrapper'),
    ):
        cfg = Config(dict(optim_wrapper=dict(type=kind)))
        launch.enable_amp(cfg)
        assert cfg.optim_wrapper.type == wanted
    cfg = Config(dict(optim_wrapper=dict(type=AmpOptimWrapper)))
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper.type is AmpOptimWrapper


def test_proposals_of_a_segmentor_that_is_a_class():
    hooks = dict(visualization=dict(type='OpenVocabVisualizationHook'))
    for kind in ('mmseg.OpenVocabMaskSegmentor', OpenVocabMaskSegmentor):
        model = dict(type=kind, test_cfg=dict(mode='whole'))
        cfg = Config(dict(model=model, default_hooks=hooks))
        launch.enable_pictures(cfg, None, False, 0, proposals=3)
        assert cfg.model.test_cfg.keep_proposals == 3
    cfg.model.type = OpenVocabSegmentor
    with pytest.raises(ValueError, match='the model OpenVocabSegmentor'):
        launch.enable_pictures(cfg, None, False, 0, proposals=3)


def test_batch_norms_of_several_processes_that_are_classes():
    cfg = Config(
        dict(
            a=[dict(type=nn.SyncBatchNorm), dict(type='SyncBN')],
            b=dict(norm_cfg=dict(type='mmengine.SyncBN'), c=dict(type='GN')),
        )
    )
    distributed._replace_sync_bn(cfg)
    assert cfg.a == [dict(type='BN')] * 2
    assert cfg.b == dict(norm_cfg=dict(type='BN'), c=dict(type='GN'))
