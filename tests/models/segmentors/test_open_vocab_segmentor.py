# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

SHARED = dict(
    class_texts=['cat', 'sky', 'wall'],
    label_names=['cat', 'background'],
    prompt_to_label=[0, 1, 1],
)


def batch_of(sample_of, num_labels=5):
    torch.manual_seed(3)
    labels = torch.randint(0, num_labels, (2, 40, 48))
    labels[:, :5] = 255
    images = torch.randint(0, 255, (2, 3, 40, 48), dtype=torch.uint8)
    return list(images), [sample_of(part) for part in labels], labels


def test_loss_is_that_of_the_training_words(build, sample_of):
    words = ['wall', 'floor', 'door']
    model = build(train_vocabulary=words).train()
    images, samples, labels = batch_of(sample_of, 3)
    data = model.data_preprocessor(
        dict(inputs=images, data_samples=samples), training=True
    )
    losses = model(**data, mode='loss')
    assert losses.keys() == {'decode.loss_bce'}
    # The same from the parts, one word at a time.
    mean, std = torch.tensor([[120.0, 110, 100], [60, 65, 70]])
    img = torch.stack(images).float()[:, [2, 1, 0]]
    img = (img - mean[:, None, None]) / std[:, None, None]
    model.set_vocabulary(words)
    logits = F.interpolate(model(img), (40, 48), mode='bilinear')
    target = torch.stack([(labels == c).float() for c in range(3)], dim=1)
    expected = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(losses['decode.loss_bce'], expected)


def test_labels_are_padded_with_what_is_no_class(build, sample_of):
    words = [f'word {i}' for i in range(300)]
    for vocabulary, ignored in ((words[:255], 255), (words, 65535)):
        model = build(train_vocabulary=vocabulary)
        images = [torch.zeros(3, 40, 48), torch.zeros(3, 32, 48)]
        labels = [torch.full(img.shape[1:], 7) for img in images]
        data = model.data_preprocessor(
            dict(inputs=images, data_samples=list(map(sample_of, labels))),
            training=True,
        )
        padded = data['data_samples'][1].gt_sem_seg.data
        assert padded.unique().tolist() == [7, ignored]


def test_labels_without_a_word_are_named(build, sample_of):
    model = build().train()
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    labels[1, 3, 4], labels[1, 3, 5], labels[0, 0, 0] = 5, 77, 255
    samples = [
        sample_of(part, seg_map_path=f'{index}.png')
        for index, part in enumerate(labels)
    ]
    with pytest.raises(ValueError, match=r'1\.png has the labels \[5, 77\]'):
        model.loss(torch.randn(2, 3, 32, 32), samples)


def test_words_that_share_a_label_do_not_train(config, build, sample_of):
    message = '3 class texts for 2 labels.*set such a train_vocabulary'
    with pytest.raises(ValueError, match=message):
        MODELS.build(config(train_vocabulary=SHARED))
    # The words of the tests may share labels, as long as no one trains.
    model = build(vocabulary=SHARED)
    model.predict(torch.randn(1, 3, 32, 32))
    images, samples, _ = batch_of(sample_of, 2)
    with pytest.raises(ValueError, match=message):
        model.train().loss(torch.stack(images).float(), samples)
    model = build(vocabulary=SHARED, train_vocabulary=['cat', 'sky'])
    loss = model.train().loss(torch.stack(images).float(), samples)
    assert loss['decode.loss_bce'].isfinite()


def test_reordered_labels_do_not_train(config):
    vocabulary = dict(SHARED, class_texts=['a', 'b'], prompt_to_label=[1, 0])
    with pytest.raises(ValueError, match='in the order of the labels'):
        MODELS.build(config(train_vocabulary=vocabulary))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(test_cfg=dict(mode='windows')), "test_cfg.mode='windows'"),
        (
            dict(test_cfg=dict(mode='slide', stride=(8, 8))),
            r'test_cfg\.crop_size=None; expected \(height, width\) in pixels',
        ),
        (
            dict(test_cfg=dict(mode='slide', crop_size=(8, 8), stride=(9, 8))),
            'make the stride smaller',
        ),
        (
            dict(test_cfg=dict(mode='slide', crop_size=(8, 8), stride=(0, 8))),
            r'test_cfg\.stride=\(0, 8\); expected \(height, width\)',
        ),
        (dict(pretrained='clip.pth'), "pretrained='clip.pth' is not an opt"),
        (
            dict(test_cfg=dict(score_size='window')),
            r"score_size='window'; expected \(height, width\), 'input'",
        ),
        (
            dict(test_cfg=dict(windows_batch=2)),
            r"test_cfg has the unknown options \['windows_batch'\]",
        ),
        (
            dict(test_cfg=dict(max_words=0)),
            'test_cfg.max_words=0; expected an integer above 0',
        ),
        (
            dict(test_cfg=dict(max_words=3, seen_penalty=0.1)),
            'max_words=3 and test_cfg.seen_penalty=0.1 exclude each other',
        ),
        (
            dict(test_cfg=dict(prune_regions=0.5)),
            'prune_regions=0.5 has no effect on CATSegCostHead',
        ),
        (dict(clip=dict(archi='ViT-B-16')), "unknown options .*'archi'"),
    ],
)
def test_wrong_options(config, options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(config(**options))


def test_towers_take_the_options_of_clip_but_keep_their_own(config):
    cfg = config()
    cfg['text_encoder']['finetune'] = 'none'
    model = MODELS.build(cfg)
    assert not model.text_encoder.trainable
    trained = [
        n for n, p in model.backbone.named_parameters() if p.requires_grad
    ]
    assert len(trained) == 4
    assert all('q_proj' in name or 'v_proj' in name for name in trained)


def test_weights_travel_through_a_state_dict(build):
    model, other = build(), build()
    img = torch.randn(1, 3, 40, 48)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        assert not torch.allclose(model(img), other(img), atol=1e-3)
        other.load_state_dict(model.state_dict())
        assert torch.equal(model(img), other(img))
    assert not any('conv_seg' in name for name in model.state_dict())


def build_optim_wrapper(model, kind):
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='OpenVocabOptimWrapperConstructor',
            optim_wrapper_cfg=dict(
                type=kind,
                optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.0),
                clip_grad=dict(max_norm=0.01),
            ),
        )
    )
    return constructor(model)


def train_a_step(model, sample_of, autocast=False):
    """One step through the model's own train_step; what it changed."""
    images, samples, _ = batch_of(sample_of)
    kind = 'AutocastOptimWrapper' if autocast else 'OptimWrapper'
    wrapper = build_optim_wrapper(model, kind)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    logged = model.train().train_step(
        dict(inputs=images, data_samples=samples), wrapper
    )
    assert logged['loss'].isfinite()
    changed = {
        name
        for name, parameter in model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(p.isfinite().all() for p in model.parameters())
    return logged['loss'], changed


def test_a_step_trains_what_it_should(build, sample_of):
    model = build()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    _, changed = train_a_step(model, sample_of)
    # The dense path leaves out the last image block's q.
    idle = {'backbone.transformer.resblocks.1.attn.q_proj_weight'}
    assert changed == trained - idle
    towers = {n for n in changed if n.startswith(('backbone', 'text_enc'))}
    assert towers == {
        'backbone.transformer.resblocks.0.attn.q_proj_weight',
        'backbone.transformer.resblocks.0.attn.v_proj_weight',
        'backbone.transformer.resblocks.1.attn.v_proj_weight',
        'text_encoder.transformer.resblocks.0.attn.q_proj_weight',
        'text_encoder.transformer.resblocks.0.attn.v_proj_weight',
    }


def test_a_step_in_mixed_precision(build, sample_of):
    loss, changed = train_a_step(build(), sample_of)
    half_loss, half_changed = train_a_step(build(), sample_of, autocast=True)
    assert half_loss != loss
    torch.testing.assert_close(half_loss, loss, rtol=3e-2, atol=0)
    assert half_changed == changed


@pytest.mark.parametrize('autocast', [False, True])
def test_a_step_of_visual_prompts(config, build, sample_of, autocast):
    cfg = config()
    model = build(
        clip=dict(cfg['clip'], finetune='prompt'),
        backbone=dict(cfg['backbone'], prompts=dict(depth=2, length=3)),
    )
    _, changed = train_a_step(model, sample_of, autocast)
    towers = {n for n in changed if n.startswith(('backbone', 'text_enc'))}
    assert towers == {'backbone.prompt_tokens'}
    assert any(name.startswith('decode_head') for name in changed)
    assert any(name.startswith('neck') for name in changed)


def test_prediction_in_mixed_precision(build):
    model = build(test_cfg=dict(keep_scores=True))
    img = torch.randn(1, 3, 40, 48)
    with torch.no_grad():
        (expected,) = model.predict(img)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            (result,) = model.predict(img)
    assert result.seg_logits.data.dtype == torch.float32
    torch.testing.assert_close(
        result.seg_logits.data, expected.seg_logits.data, rtol=0, atol=0.1
    )


def test_words_that_are_left_out_do_not_win(build, sample_of):
    words = [f'word {i}' for i in range(12)]
    windows = dict(mode='slide', crop_size=(24, 24), stride=(16, 16))
    images = list(torch.randn(2, 3, 40, 48))
    model = build(vocabulary=words)
    model.test_cfg.update(windows, keep_scores=True, max_words=12)
    whole = [s.seg_logits.data for s in model.predict(images)]
    model.test_cfg.update(max_words=3, others=['sky', 'water'])
    views = [model.cut_views(img)[0] for img in images]
    kept = torch.cat(model.encode_views(views)) > -100
    assert (kept.flatten(2).all(dim=2).sum(dim=1) == 3).all()
    found = set()
    for sample, scores in zip(model.predict(images), whole):
        fewer = sample.seg_logits.data
        assert fewer.shape == scores.shape
        labels = sample.pred_sem_seg.data[0]
        words_of_it = labels[labels != model.vocabulary.ignore_label].unique()
        # The scores of words left out everywhere are 0, lower than all.
        assert all(fewer[word].max() > 0 for word in words_of_it)
        found.update(words_of_it.tolist())
    assert len(found) > 1
