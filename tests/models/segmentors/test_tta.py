# SPDX-License-Identifier: Apache-2.0
from copy import deepcopy

import pytest
import torch
from mmseg.registry import MODELS

from ovseg_mm.utils.errors import InputError


def variants_of(img, sample_of):
    """An image as it comes, flipped, and enlarged."""
    large = torch.nn.functional.interpolate(img[None].float(), (60, 72))[0]
    inputs = [img.float(), img.float().flip(2), large]
    samples = [
        sample_of(ori_shape=(40, 48)),
        sample_of(ori_shape=(40, 48), flip=True, flip_direction='horizontal'),
        sample_of(ori_shape=(40, 48)),
    ]
    return inputs, samples


def test_scores_of_the_variants_are_averaged(build, config, sample_of):
    model = build()
    tta = MODELS.build(dict(type='OpenVocabTTAModel', module=config()))
    tta.module.load_state_dict(model.state_dict())
    tta.eval()
    images = [torch.randint(0, 255, (3, 40, 48)) for _ in range(2)]
    data = [variants_of(img, sample_of) for img in images]
    with torch.no_grad():
        results = tta.test_step(
            dict(
                inputs=[list(part) for part in zip(*(d[0] for d in data))],
                data_samples=[
                    list(part) for part in zip(*(d[1] for d in data))
                ],
            )
        )
        assert len(results) == 2
        model.test_cfg['keep_scores'] = True
        for img, result in zip(images, results):
            scores = []
            for variant, sample in zip(*variants_of(img, sample_of)):
                (alone,) = model.test_step(
                    dict(inputs=[variant], data_samples=[sample])
                )
                scores.append(alone.seg_logits.data)
            mean = torch.stack(scores).mean(dim=0)
            assert not torch.allclose(scores[0], mean, atol=1e-3)
            torch.testing.assert_close(result.seg_logits.data, mean)
            labels = result.pred_sem_seg.data
            assert labels.shape == (1, 40, 48) and labels.unique().numel() > 1
            assert torch.equal(labels[0], result.seg_logits.data.argmax(0))


def test_one_word_has_its_threshold(config, sample_of):
    torch.manual_seed(0)
    cfg = config(vocabulary=['cat'])
    tta = MODELS.build(dict(type='OpenVocabTTAModel', module=cfg)).eval()
    inputs, samples = variants_of(
        torch.randint(0, 255, (3, 40, 48)), sample_of
    )
    data = dict(
        inputs=[[img] for img in inputs],
        data_samples=[[sample] for sample in samples],
    )
    with torch.no_grad():
        scores = tta.test_step(data)[0].seg_logits.data[0]
        tta.module.test_cfg['threshold'] = float(scores.median())
        (result,) = tta.test_step(data)
    expected = torch.where(scores > scores.median(), 0, 255)
    assert torch.equal(result.pred_sem_seg.data[0], expected)


def variants(sample_of):
    inputs, samples = variants_of(
        torch.randint(0, 255, (3, 40, 48)), sample_of
    )
    for sample in samples:
        sample.set_metainfo(dict(img_path='a.png'))
    return dict(
        inputs=[[img] for img in inputs],
        data_samples=[[sample] for sample in samples],
    )


def test_stock_tta_model_has_the_scores(build, config, sample_of):
    """As a config on MMSegmentation's default_runtime has it with --tta."""
    data = variants(sample_of)
    model = build()
    # Built by the TTA model, or before it.
    for module in (config(), model):
        tta = MODELS.build(dict(type='SegTTAModel', module=module)).eval()
        tta.module.load_state_dict(model.state_dict())
        with torch.no_grad():
            (result,) = tta.test_step(deepcopy(data))
            scores = 0
            for img, sample in zip(data['inputs'], data['data_samples']):
                batch = dict(inputs=img, data_samples=sample)
                (alone,) = tta.module.test_step(deepcopy(batch))
                scores = scores + alone.seg_logits.data.softmax(dim=0)
        labels = result.pred_sem_seg.data
        assert torch.equal(labels.squeeze(0), scores.argmax(0))
        assert len(labels.unique()) > 1


def test_stock_tta_model_without_threshold_is_refused(config, sample_of):
    cfg = dict(type='SegTTAModel', module=config(vocabulary=['cat']))
    tta = MODELS.build(cfg).eval()
    with pytest.raises(InputError, match='OpenVocabTTAModel'):
        tta.test_step(variants(sample_of))
