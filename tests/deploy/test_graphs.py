# SPDX-License-Identifier: Apache-2.0
"""Graphs compute what the models compute."""

import pytest
import torch
from mmengine.config import Config

from ovseg_mm.deploy import graphs
from ovseg_mm.deploy.embeddings import embeddings_of
from ovseg_mm.deploy.image_side import ImageSide

from ..models.methods import CONFIGS, build_method
from ..tiny import clip_arch

pytestmark = pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_exporting'),
    reason='torch.export of this PyTorch cannot be noticed',
)
SLIDE = dict(
    mode='slide', crop_size=(64, 64), stride=(32, 32), keep_scores=True
)


def built(name, **test_cfg):
    test_cfg = {**SLIDE, **test_cfg}
    model = build_method(name, test_cfg=test_cfg)
    model.cfg = Config(dict(model=CONFIGS[name]()))
    return model


@pytest.mark.parametrize(
    'name, test_cfg',
    [
        ('cat_seg', {}),
        ('cat_seg_v1', dict(score_size='input')),
        ('cascade_clip', dict(score_size=(32, 48))),
        ('per_pixel', dict(mode='whole')),
        ('cascade_clip', dict(crop_size=(60, 64), window_divisor='patch')),
    ],
)
def test_scores_are_those_of_the_model(name, test_cfg):
    model = built(name, **test_cfg)
    side = ImageSide(model, embeddings_of(model))
    assert not any('text_encoder' in key for key in side.state_dict())
    size = model.test_cfg['crop_size']
    images = torch.randint(0, 256, (2, 3, *size)).float()
    for image, scores in zip(images, side(images)):
        batch = dict(inputs=[image.flip(0)], data_samples=[sample_of(size)])
        with torch.no_grad():
            wanted, _ = model.scored(batch)
            torch.testing.assert_close(scores, wanted.of())


def sample_of(size):
    from mmseg.structures import SegDataSample

    return SegDataSample(metainfo=dict(ori_shape=size, img_shape=size))


@pytest.mark.slow
@pytest.mark.parametrize('block', ['NACLIPBlock', 'SCCLIPBlock'])
def test_methods_without_training_as_onnx(block, tmp_path):
    for package in ('onnx', 'onnxruntime', 'onnxscript'):
        pytest.importorskip(package)
    backbone = dict(last_block=dict(type=block), pos_interpolation='dino')
    model = build_method(
        'cascade_clip',
        clip=dict(arch=clip_arch(layers=3)),
        backbone=dict(type='CLIPViT', **backbone),
        neck=None,
        decode_head=dict(type='CosineHead'),
        test_cfg=SLIDE,
    )
    model.cfg = Config(dict(model=CONFIGS['cascade_clip']()))
    side = ImageSide(model)
    text = torch.nn.functional.normalize(torch.randn(4, 1, 16), dim=2)
    graphs.save(graphs.trace(side, (64, 64), text), tmp_path / 'x.onnx', {})
    run = graphs.load(tmp_path / 'x.onnx')
    images = 255 * torch.rand(3, 3, 48, 72)
    with torch.no_grad():
        wanted = side(images, text)
    found = run(images.numpy(), text.numpy())
    torch.testing.assert_close(torch.from_numpy(found), wanted)


def test_any_batch_words_and_size():
    side = ImageSide(built('cascade_clip'))
    text = torch.nn.functional.normalize(torch.randn(9, 1, 16), dim=2)
    graph = graphs.trace(side, (64, 64), text[:1])
    assert graph.any_size and graph.most_texts is None
    assert graph.least_side <= 16
    run = graph.program.module()
    # The position embedding has 4 x 4 patches.
    for batch, texts, size in (
        (1, 9, (32, 32)),
        (2, 1, (64, 40)),
        (3, 2, (52, 97)),
    ):
        images = 255 * torch.rand(batch, 3, *size)
        with torch.no_grad():
            wanted = side(images, text[:texts])
            torch.testing.assert_close(run(images, text[:texts]), wanted)


def test_cat_seg_takes_words_up_to_its_padding():
    side = ImageSide(built('cat_seg'))
    text = torch.nn.functional.normalize(torch.randn(9, 1, 16), dim=2)
    graph = graphs.trace(side, (64, 64), text[:5])
    assert not graph.any_size and graph.most_texts == 7
    run = graph.program.module()
    images = 255 * torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for texts in (2, 7):
            wanted = side(images, text[:texts])
            torch.testing.assert_close(run(images, text[:texts]), wanted)


@pytest.mark.slow
def test_more_words_than_the_padding_of_cat_seg(tmp_path):
    for package in ('onnx', 'onnxruntime', 'onnxscript'):
        pytest.importorskip(package)
    text = torch.nn.functional.normalize(torch.randn(12, 1, 16), dim=2)
    side = ImageSide(built('cat_seg'), text)
    graphs.save(graphs.trace(side, (64, 64), None), tmp_path / 'x.onnx', {})
    run = graphs.load(tmp_path / 'x.onnx')
    images = 255 * torch.rand(3, 3, 64, 64)
    wanted = side(images)
    assert wanted.shape == (3, 12, 64, 64)
    found = torch.from_numpy(run(images.numpy(), None))
    torch.testing.assert_close(found, wanted)
