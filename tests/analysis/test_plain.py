# SPDX-License-Identifier: Apache-2.0
"""The plain path and the fast one compute the same.

Neither path shares the code that the other replaces, so a mistake in one of
them shows here.
"""

from copy import deepcopy

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from ovseg_mm.analysis.plain import plain_path
from ovseg_mm.analysis.plain.path import FORWARDS, OTHERS

from .. import tiny
from ..models.methods import batch_of

BLOCKS = ('MaskCLIP', 'SCLIP', 'ClearCLIP', 'NACLIP', 'SCCLIP', 'SFP')

TOLERANCE = dict(rtol=1e-4, atol=1e-5)


def training_free(block):
    cfg = tiny.cascade_clip()
    del cfg['neck']
    cfg.update(
        clip=dict(arch=tiny.clip_arch(layers=4)),
        backbone=dict(type='CLIPViT', last_block=dict(type=f'{block}Block')),
        decode_head=dict(type='CosineHead'),
        test_cfg=dict(mode='whole', logit_scale=5.0, area_thd=0.1),
    )
    return cfg


def windows(cfg, **options):
    cfg['test_cfg'] = dict(
        mode='slide', crop_size=(32, 32), stride=(24, 20), **options
    )
    return cfg


def cat_seg(cfg=None, **head):
    cfg = deepcopy(cfg or tiny.cat_seg())
    for key, value in head.items():
        if isinstance(value, dict):
            value = {**cfg['decode_head'].get(key, {}), **value}
        cfg['decode_head'][key] = value
    return cfg


CASES = dict(
    cat_seg=lambda: windows(tiny.cat_seg(), canvas=(48, 64), global_view=True),
    cut=lambda: cat_seg(pad_len=3),
    max_words=lambda: dict(
        tiny.cat_seg(), test_cfg=dict(mode='whole', max_words=3)
    ),
    unpadded=lambda: cat_seg(pad_len=None),
    full=lambda: cat_seg(
        classwise=dict(attention='full', ffn_identity=True, test_pooling=2),
        spatial=dict(mask_padding=False),
    ),
    score_size=lambda: windows(tiny.cat_seg(), score_size='input'),
    cat_seg_v1=tiny.cat_seg_v1,
    cascade_clip=lambda: windows(tiny.cascade_clip()),
    penalty=lambda: windows(
        dict(
            tiny.cascade_clip(),
            vocabulary=dict(class_texts=tiny.WORDS, unseen=['tree']),
        ),
        seen_penalty=0.1,
    ),
    zsseg=tiny.zsseg,
    expanded=lambda: tiny.zsseg(
        region_encoder=dict(fill='zero', expand_ratio=1.5, matting=True)
    ),
    pooled=lambda: tiny.zsseg(
        region_encoder=dict(
            pooling='mask', clip=dict(type='CLIPViT', last_block='value')
        )
    ),
    scan=tiny.scan,
    **{block: lambda block=block: training_free(block) for block in BLOCKS},
)


def build(name):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(CASES[name]())
    # Every part has an effect: the zeros and ones of norms and padding are
    # random too, and attention is not uniform.
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data += 0.5 * torch.randn_like(parameter)
        elif 'backbone' not in name:
            parameter.data *= 1.5
    if hasattr(model.decode_head, 'temperature'):
        model.decode_head.temperature = (
            10.0  # a softmax that does not saturate
        )
    return model.eval()


def predict(model):
    model.test_cfg['keep_scores'] = True
    with torch.no_grad():
        return model.test_step(batch_of())


@pytest.mark.parametrize('name', CASES)
def test_same_prediction(name):
    model = build(name)
    fast = predict(model)
    with plain_path(model):
        plain = predict(model)
    for one, other in zip(fast, plain):
        scores = one.seg_logits.data
        assert scores.std(dim=(1, 2)).amax() > 20 * TOLERANCE['atol']
        torch.testing.assert_close(scores, other.seg_logits.data, **TOLERANCE)
        same = one.pred_sem_seg.data == other.pred_sem_seg.data
        assert same.float().mean() > 0.999


@pytest.mark.parametrize('name', ['cat_seg', 'cascade_clip', 'zsseg', 'scan'])
def test_same_gradients(name):
    model = build(name)
    model.decode_head.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    fast = gradients(model)
    with plain_path(model):
        plain = gradients(model)
    assert fast.keys() == plain.keys() != set()
    # The gradients of some biases are rounding errors of larger ones.
    rounding = 1e-5 * max(gradient.abs().max() for gradient in fast.values())
    for key, gradient in fast.items():
        error = (gradient - plain[key]).abs().max()
        assert error <= 1e-3 * gradient.abs().max() + rounding, key


def gradients(model):
    torch.manual_seed(0)
    model.zero_grad()
    batch = model.data_preprocessor(batch_of(), True)
    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize(
    ('name', 'weight'),
    [
        ('cat_seg', 'decode_head.layers.0.classwise.padding_token'),
        ('cat_seg', 'decode_head.layers.0.classwise.padding_guidance'),
        ('cat_seg', 'decode_head.layers.0.spatial.guidance_norm.weight'),
        ('cat_seg', 'decode_head.layers.0.spatial.blocks.1.attn.k.weight'),
        ('cat_seg', 'decode_head.upsample_blocks.0.up.bias'),
        ('cat_seg', 'backbone.transformer.resblocks.1.attn.out_proj.weight'),
        ('cascade_clip', 'text_encoder.positional_embedding'),
        ('zsseg', 'decode_head.proposals.mask_embed.0.weight'),
        ('zsseg', 'region_encoder.clip.proj'),
        ('scan', 'region_encoder.clip.transformer.resblocks.0.ln_1.bias'),
        ('scan', 'decode_head.proposals.decoder.query_feat.weight'),
    ],
)
def test_a_weight_that_only_one_path_has_shows(name, weight):
    model = build(name)
    fast = predict(model)
    parameter = model.get_parameter(weight)
    with plain_path(model), torch.no_grad():
        parameter += 0.5 * torch.randn_like(parameter)
        plain = predict(model)
    difference = fast[0].seg_logits.data - plain[0].seg_logits.data
    assert difference.abs().max() > 10 * TOLERANCE['atol']


def test_everything_is_put_back():
    model = build('scan')
    before = [getattr(owner, name) for owner, name, _ in OTHERS]
    with pytest.raises(KeyError), plain_path(model):
        changed = [m for m in model.modules() if 'forward' in vars(m)]
        assert {type(module) for module in changed} <= set(FORWARDS)
        assert len(changed) > 10
        raise KeyError
    assert not any('forward' in vars(m) for m in model.modules())
    assert before == [getattr(owner, name) for owner, name, _ in OTHERS]
