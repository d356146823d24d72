# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

from ovseg_mm.models.decode_heads.cat_seg.cat_seg_cost_head import (
    cost_volume,
    select_classes,
)
from ovseg_mm.models.utils import chunks, recompute
from ovseg_mm.structures import CostFeatures

from . import naive


@pytest.fixture
def build(randomise):
    def build(spatial=None, classwise=None, decoder=None, **options):
        cfg = dict(
            type='CATSegCostHead',
            text_channels=8,
            appearance_channels=8,
            embed_dims=16,
            pad_len=9,
            spatial=dict(
                dict(guidance_dims=5, num_heads=2, window_size=4),
                **(spatial or {}),
            ),
            classwise=dict(
                dict(guidance_dims=6, num_heads=2, pooling=1),
                **(classwise or {}),
            ),
            decoder=dict(
                dict(
                    guidance_channels=(7, 5),
                    guidance_dims=(4, 3),
                    dims=(16, 8),
                ),
                **(decoder or {}),
            ),
        )
        return randomise(MODELS.build({**cfg, **options}))

    return build


def make_inputs(grid=(4, 4), num_texts=5, num_prompts=1, batch=2):
    h, w = grid
    image = torch.randn(batch, 8, h, w)
    decoder = (
        torch.randn(batch, 7, 2 * h, 2 * w),
        torch.randn(batch, 5, 4 * h, 4 * w),
    )
    text = F.normalize(torch.randn(num_texts, num_prompts, 8), dim=-1)
    return CostFeatures(image, image, decoder), text


def test_cost_volume_is_the_cosine():
    image, text = torch.randn(2, 8, 3, 4), torch.randn(5, 2, 8)
    cost = cost_volume(image, text)
    assert cost.shape == (2, 5, 2, 3, 4)
    for b, t, p, y, x in torch.randint(0, 2, (20, 5)).tolist():
        expected = F.cosine_similarity(image[b, :, y, x], text[t, p], dim=0)
        torch.testing.assert_close(cost[b, t, p, y, x], expected)


def test_selected_classes_have_the_highest_maxima():
    cost = torch.zeros(2, 4, 2, 3, 3)
    cost[0, 2, 1, 0, 2] = 0.9
    cost[0, 0, 0, 1, 1] = 0.5
    cost[0, 1] = 0.4  # the highest mean, but a low maximum
    cost[1, 3, 0, 2, 2], cost[1, 1, 1, 0, 0] = 0.2, 0.1
    assert select_classes(cost, 2).tolist() == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ('options', 'inputs'),
    [
        (dict(), dict()),
        (dict(classwise=dict(attention='full')), dict()),
        (dict(), dict(grid=(6, 8))),
        (dict(), dict(grid=(3, 2))),
        (dict(), dict(grid=(5, 7), batch=1)),
        (
            dict(classwise=dict(pooling=2, test_pooling=None)),
            dict(grid=(6, 8)),
        ),
        (
            dict(classwise=dict(pooling=[3, 2], test_pooling=(1, 4))),
            dict(grid=(6, 8)),
        ),
        (dict(classwise=dict(ffn_identity=True)), dict()),
        (
            dict(classwise=dict(ffn_identity=True, pooling=2), pad_len=None),
            dict(),
        ),
        (dict(classwise=dict(guidance_dims=0), pad_len=None), dict()),
        (dict(spatial=dict(mlp_ratio=2)), dict()),
        (
            dict(spatial=dict(mask_padding=False)),
            dict(grid=(5, 7), batch=1),
        ),
        (dict(), dict(num_texts=1)),
        (dict(classwise=dict(attention='full')), dict(num_texts=1)),
        (dict(), dict(num_texts=9)),
        (dict(pad_len=None), dict(num_texts=12)),
        (dict(pad_len=None), dict(num_texts=1)),
        (dict(), dict(num_texts=14)),
        (dict(classwise=dict(attention='full')), dict(num_texts=14)),
        (dict(pad_len=1), dict(num_texts=6)),
        (dict(prompt_channels=3), dict(num_prompts=3)),
        (dict(prompt_channels=3), dict(num_prompts=3, num_texts=11)),
        (dict(num_layers=1), dict()),
        (dict(num_layers=0), dict()),
    ],
)
def test_formulas(build, assert_same, options, inputs):
    head = build(**options)
    feats, text = make_inputs(**inputs)
    expected = naive.head(head, feats, text)
    assert_same(head(feats, text), expected)
    head.eval()
    with torch.no_grad():
        assert_same(head(feats, text), naive.head(head, feats, text))


@pytest.mark.parametrize(
    ('pad_len', 'max_words'), [(3, None), (9, 3), (3, 5), (None, 3), (8, 3)]
)
def test_each_window_keeps_classes_of_its_own(
    build, assert_same, pad_len, max_words
):
    head = build(pad_len=pad_len)
    feats, text = make_inputs(num_texts=8)
    # Every window holds three of the directions that texts point in.
    present = [0, 3, 6], [1, 3, 7]
    for image, texts in zip(feats.image, present):
        image.mul_(0.01)
        for place, t in enumerate(texts):
            image[:, place, place] = 5 * text[t, 0]
    logits = head(feats, text, max_words)
    for index, texts in enumerate(present):
        others = [t for t in range(8) if t not in texts]
        assert (logits[index, others] == -100).all()
        alone = CostFeatures(
            feats.image[index, None],
            feats.appearance[index, None],
            tuple(guide[index, None] for guide in feats.decoder),
        )
        assert_same(logits[index, texts], head(alone, text[texts])[0])


def test_chunks_equal_the_whole(build, assert_same, monkeypatch):
    head = build().eval()
    feats, text = make_inputs(grid=(6, 5), num_texts=7)
    whole = head(feats, text)
    monkeypatch.setitem(chunks.CHUNK_BYTES, 'cpu', 2 * 16 * 16 * 4)
    with torch.no_grad():
        assert_same(head(feats, text), whole, 1e-6)


def test_two_images_are_two_times_one(build, assert_same):
    head = build()
    feats, text = make_inputs()
    both = head(feats, text)
    for i in range(2):
        alone = CostFeatures(
            feats.image[i, None],
            feats.appearance[i, None],
            tuple(guide[i, None] for guide in feats.decoder),
        )
        assert_same(head(alone, text), both[i, None])


@pytest.mark.parametrize('num_texts', [5, 9, 14])
def test_gradients(build, assert_same_gradients, num_texts):
    head = build(classwise=dict(pooling=2))
    feats, text = make_inputs(num_texts=num_texts)
    leaves = [feats.image, *feats.decoder, text]
    leaves += [p for n, p in head.named_parameters() if 'padding' not in n]
    if num_texts < 9:
        leaves += [p for n, p in head.named_parameters() if 'padding' in n]
    for leaf in leaves:
        leaf.requires_grad_(True)
    weight = torch.randn(2, num_texts, 16, 16)
    ours, theirs = (
        torch.autograd.grad((logits * weight).sum(), leaves)
        for logits in (head(feats, text), naive.head(head, feats, text))
    )
    assert_same_gradients(ours, theirs)


@pytest.mark.parametrize('pooling', [1, 2])
@pytest.mark.parametrize('attention', ['linear', 'full'])
def test_gradients_of_chunks_are_those_of_the_whole(
    build, monkeypatch, pooling, attention
):
    head = build(classwise=dict(pooling=pooling, attention=attention)).double()
    feats, text = make_inputs(grid=(6, 8))
    feats = CostFeatures(
        feats.image.double(),
        feats.appearance.double(),
        tuple(guide.double() for guide in feats.decoder),
    )
    leaves = [feats.image, *feats.decoder, *head.parameters()]
    for leaf in leaves:
        leaf.requires_grad_(True)

    def gradients():
        return torch.autograd.grad(
            head(feats, text.double()).square().sum(), leaves
        )

    monkeypatch.setitem(chunks.CHUNK_BYTES, 'cpu', 1)
    found = gradients()
    monkeypatch.setitem(chunks.CHUNK_BYTES, 'cpu', 1 << 30)
    monkeypatch.setattr(
        recompute, 'checkpoint', lambda function, *args, **_: function(*args)
    )
    for ours, theirs in zip(found, gradients(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_cheap_steps_are_not_kept_for_the_backward_pass(build, monkeypatch):
    head = build()
    feats, text = make_inputs(grid=(8, 8))

    def kept():
        sizes = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes(), storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            head(feats, text)
        return sum(size for size, _ in sizes.values())

    found = kept()
    monkeypatch.setattr(
        recompute, 'checkpoint', lambda function, *args, **_: function(*args)
    )
    assert found < 0.5 * kept()


def test_padding_gets_no_gradient_in_a_full_vocabulary(build):
    head = build()
    feats, text = make_inputs(num_texts=9)
    head(feats, text).sum().backward()
    for name, parameter in head.named_parameters():
        assert (parameter.grad is None) == ('padding' in name), name


def test_loss_is_taken_at_the_size_of_the_labels(build):
    head = build(loss_decode=dict(type='DenseBCELoss', loss_weight=2.0))
    feats, text = make_inputs()
    labels = torch.randint(0, 5, (2, 21, 30))
    labels[:, :4] = 255
    losses = head.loss(feats, text, labels)
    logits = F.interpolate(
        head(feats, text), (21, 30), mode='bilinear', align_corners=False
    )
    one_hot = F.one_hot(labels.where(labels != 255, torch.tensor(5)), 6)
    target = one_hot[..., :5].permute(0, 3, 1, 2).float()
    expected = 2 * F.binary_cross_entropy_with_logits(logits, target)
    assert losses.keys() == {'loss_bce'}
    torch.testing.assert_close(losses['loss_bce'], expected)


def test_softmax_loss_and_accuracy(build):
    loss = dict(type='CrossEntropyLoss', avg_non_ignore=True)
    head = build(loss_decode=loss, with_accuracy=True)
    feats, text = make_inputs()
    labels = torch.randint(0, 5, (2, 16, 16))
    labels[:, :4] = 255
    losses = head.loss(feats, text, labels)
    logits = head(feats, text)
    expected = F.cross_entropy(logits, labels, ignore_index=255)
    assert losses.keys() == {'loss_ce', 'acc_seg'}
    torch.testing.assert_close(losses['loss_ce'], expected)
    right = (logits.argmax(dim=1) == labels)[labels != 255].float().mean()
    torch.testing.assert_close(losses['acc_seg'], 100 * right[None])


def test_dropout_in_training_alone(build, assert_same):
    head, plain = build(decoder=dict(dropout_ratio=0.5)), build()
    plain.load_state_dict(head.state_dict())
    feats, text = make_inputs()
    assert not torch.allclose(head(feats, text), plain(feats, text))
    assert_same(head.eval()(feats, text), plain.eval()(feats, text))


def test_decoder_sizes_of_different_length(build):
    with pytest.raises(ValueError, match=r'dims=\(8,\).*the same length'):
        build(decoder=dict(dims=(8,)))


def test_scores(build):
    logits = torch.randn(3, 4, 5)
    head = build()
    assert head.threshold == 0.5
    torch.testing.assert_close(
        head.activate(logits.clone()), 1 / (1 + (-logits).exp())
    )
    head = build(score='logits')
    assert head.threshold == 0.0
    assert build(score='logits', threshold=-0.8).threshold == -0.8
    assert torch.equal(head.activate(logits.clone()), logits)
    with pytest.raises(ValueError, match="score='softmax' must be 'sigmoid'"):
        build(score='softmax')
    with pytest.raises(ValueError, match='pad_len=0 must be at least 1'):
        build(pad_len=0)


def test_initial_bias(build):
    head = build(init_bias=-3.0)
    head.init_weights()
    assert head.head.bias.item() == -3.0


@pytest.mark.parametrize('attention', ['linear', 'full'])
def test_autocast_trains(build, attention):
    head = build(classwise=dict(pooling=2, attention=attention))
    feats, text = make_inputs(grid=(6, 6))
    labels = torch.randint(0, 5, (2, 24, 24))
    expected = head.loss(feats, text, labels)['loss_bce']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = head.loss(feats, text, labels)['loss_bce']
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=2e-2, atol=0)
    loss.backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.isfinite().all(), name
