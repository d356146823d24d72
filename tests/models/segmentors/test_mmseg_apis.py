# SPDX-License-Identifier: Apache-2.0
"""The model serves MMSegmentation's own entry points."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import save_checkpoint
from mmengine.structures import PixelData
from mmseg.apis import (
    MMSegInferencer,
    inference_model,
    init_model,
    show_result_pyplot,
)
from mmseg.registry import METRICS
from mmseg.structures import SegDataSample
from PIL import Image

from ovseg_mm.models.segmentors import prediction


@pytest.fixture
def cfg(config):
    return Config(
        dict(
            default_scope='mmseg',
            model=config(),
            test_pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(64, 32), keep_ratio=True),
                dict(type='LoadOpenVocabAnnotations'),
                dict(type='PackSegInputs'),
            ],
            test_dataloader=dict(
                dataset=dict(
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='LoadOpenVocabAnnotations'),
                        dict(type='PackSegInputs'),
                    ]
                )
            ),
            visualizer=dict(type='OpenVocabVisualizer'),
        )
    )


@pytest.fixture
def checkpoint(build, tmp_path):
    path = tmp_path / 'weights.pth'
    meta = dict(dataset_meta=dict(classes=['x'], palette=[[1, 2, 3]]))
    state_dict = build().state_dict()
    save_checkpoint(dict(state_dict=state_dict, meta=meta), str(path))
    return str(path)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)


def test_arrays_files_and_lists(cfg, checkpoint, build, picture, tmp_path):
    model = init_model(cfg, checkpoint, device='cpu')
    for name, parameter in build().state_dict().items():
        assert torch.equal(model.state_dict()[name], parameter), name
    assert model.dataset_meta['classes'][:2] == ['cat', 'dog']
    path = tmp_path / 'picture.png'
    Image.fromarray(picture[..., ::-1]).save(path)
    result = inference_model(model, str(path))
    labels = result.pred_sem_seg.data
    assert labels.shape == (1, 50, 70) and labels.unique().numel() > 1
    from_array = inference_model(model, picture)
    assert torch.equal(from_array.pred_sem_seg.data, labels)
    other = picture[:30, :64]
    both = inference_model(model, [picture, other])
    assert torch.equal(both[0].pred_sem_seg.data, labels)
    assert both[1].pred_sem_seg.data.shape == (1, 30, 64)
    model.set_vocabulary(['one', 'two', 'three'])
    result = inference_model(model, picture)
    assert int(result.pred_sem_seg.data.max()) < 3


def test_pictures_have_the_colours_of_the_words(
    cfg, checkpoint, picture, tmp_path
):
    model = init_model(cfg, checkpoint, device='cpu')
    model.set_vocabulary(
        dict(class_texts=['one', 'two'], palette=[[9, 200, 30], [250, 0, 90]])
    )
    result = inference_model(model, picture)
    drawn = show_result_pyplot(
        model,
        picture,
        result,
        opacity=1.0,
        with_labels=False,
        draw_gt=False,
        show=False,
        out_file=str(tmp_path / 'drawn.png'),
    )
    assert (tmp_path / 'drawn.png').stat().st_size > 0
    palette = np.array(model.vocabulary.palette)
    expected = palette[result.pred_sem_seg.data[0].numpy()]
    assert np.abs(drawn.astype(int) - expected).max() <= 1


def test_inferencer(cfg, checkpoint, picture):
    inferencer = MMSegInferencer(model=cfg, weights=checkpoint, device='cpu')
    result = inferencer(picture, return_vis=True)
    assert result['predictions'].shape == (50, 70)
    assert len(np.unique(result['predictions'])) > 1
    drawn = result['visualization']
    assert drawn.dtype == np.uint8 and drawn.shape[0] >= 50
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10


def open_with_init_model(cfg, path):
    init_model(cfg, path, device='cpu')


def open_with_inferencer(cfg, path):
    MMSegInferencer(model=cfg, weights=path, device='cpu')


@pytest.mark.parametrize('open_', [open_with_init_model, open_with_inferencer])
@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('part', r'does not fit the model: decode_head\.head\.bias is miss'),
        ('shape', r'decode_head\.head\.bias is \(3,\) in the file and \(1,'),
        ('CLIP', 'is a checkpoint of CLIP, but the model is CAT-Seg'),
        ('nothing', 'has no known layout'),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    cfg, checkpoint, open_, kind, message
):
    content = torch.load(checkpoint, weights_only=True)
    weights = content['state_dict']
    if kind == 'part':
        del weights['decode_head.head.bias']
    elif kind == 'shape':
        weights['decode_head.head.bias'] = torch.ones(3)
    elif kind == 'CLIP':
        names = 'visual.conv1.weight', 'token_embedding.weight'
        content['state_dict'] = dict.fromkeys(names, torch.ones(1))
    else:
        content['state_dict'] = {'stem.weight': torch.ones(1)}
    save_checkpoint(content, checkpoint)
    with pytest.raises(ValueError, match=message):
        open_(cfg, checkpoint)


def test_a_checked_model_can_be_copied_and_pickled(build):
    model = build()
    for twin in (deepcopy(model), pickle.loads(pickle.dumps(model))):
        twin.load_state_dict(model.state_dict())
        with pytest.raises(ValueError, match='does not fit the model'):
            twin.load_state_dict(
                {'decode_head.head.bias': torch.ones(1)}, strict=False
            )


def test_scores_for_those_who_read_them(cfg, checkpoint, picture, monkeypatch):
    model = init_model(cfg, checkpoint, device='cpu')
    result = inference_model(model, picture)
    scores = result.seg_logits.data
    assert scores.shape == (5, 50, 70) and scores.dtype == torch.float32
    assert torch.equal(scores.argmax(0), result.pred_sem_seg.data[0])
    monkeypatch.setattr(prediction, 'MOST_SCORES', scores.numel() * 4 - 1)
    with pytest.warns(UserWarning, match='keep_scores=True'):
        result = inference_model(model, picture)
    assert 'seg_logits' not in result
    model.test_cfg['keep_scores'] = True
    assert 'seg_logits' in inference_model(model, picture)
    model.test_cfg['keep_scores'] = False
    assert 'seg_logits' not in inference_model(model, picture)


def test_no_scores_in_the_runs_of_a_runner(build, picture):
    img = torch.from_numpy(picture.transpose(2, 0, 1).copy())
    batch = dict(inputs=[img], data_samples=[SegDataSample()])
    (result,) = build().test_step(batch)
    assert 'seg_logits' not in result and 'pred_sem_seg' in result


def test_stock_metric_counts_our_predictions(build, picture):
    model = build()
    img = torch.from_numpy(picture.transpose(2, 0, 1).copy())
    truth = torch.arange(70).expand(1, 50, 70) // 14
    sample = SegDataSample(metainfo=dict(img_path='a.png'))
    sample.gt_sem_seg = PixelData(data=truth.clone())
    (result,) = model.test_step(dict(inputs=[img], data_samples=[sample]))
    found = {}
    for kind in ('IoUMetric', 'OpenVocabIoUMetric'):
        metric = METRICS.build(dict(type=kind))
        metric.dataset_meta = model.vocabulary.metainfo
        metric.process({}, [result.to_dict()])
        found[kind] = metric.evaluate(1)
    hits = (result.pred_sem_seg.data == truth).double().mean()
    for figures in found.values():
        assert figures['aAcc'] == pytest.approx(100 * float(hits), abs=0.006)
    assert found['IoUMetric']['mIoU'] == pytest.approx(
        found['OpenVocabIoUMetric']['mIoU'], abs=0.006
    )


def test_settings_of_the_test_are_attributes(build):
    for model in (build(), deepcopy(build())):
        assert model.test_cfg.mode == model.test_cfg['mode']
        assert model.test_cfg.mode in ('whole', 'slide')
    slide = dict(mode='slide', crop_size=(16, 16), stride=(8, 8))
    model = build(test_cfg=slide)
    assert model.test_cfg.mode == 'slide'
    assert model.test_cfg.crop_size == (16, 16)
    model.test_cfg.mode = 'whole'
    assert model.test_cfg['mode'] == 'whole'
