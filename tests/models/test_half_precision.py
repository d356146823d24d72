# SPDX-License-Identifier: Apache-2.0
"""Labels in half precision are those of float32."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from ovseg_mm.inference import (
    geometric_ensemble,
    join_votes,
    region_weights,
    with_no_object,
)
from ovseg_mm.models.backbones.last_blocks.calibrated import cosines
from ovseg_mm.models.backbones.last_blocks.outliers import ClassAttention
from ovseg_mm.models.classifiers import ShiftedCLIP
from ovseg_mm.models.decode_heads.cascade_clip.matching import Similarity
from ovseg_mm.models.decode_heads.cat_seg.cat_seg_cost_head import cost_volume
from ovseg_mm.models.decode_heads.pixel_text_head import PixelTextHead
from ovseg_mm.models.utils import cosine_logits
from ovseg_mm.structures import MaskProposals

from .methods import (
    METHODS,
    TRAINED,
    batch_of,
    build_method,
    labels_of,
    trained_method,
)

HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(params=HALVES, ids=str)
def dtype(request):
    """A type of half precision that this PyTorch has on CPUs."""
    try:
        with torch.autocast('cpu', dtype=request.param):
            out = nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2))
        assert out.dtype == request.param
    except (AssertionError, RuntimeError) as error:
        pytest.skip(f'{request.param} on this CPU: {error}')
    return request.param


def share(found, wanted):
    assert len(wanted.unique()) > 2
    return (found == wanted).double().mean().item()


@pytest.mark.parametrize('name', TRAINED)
def test_labels_of_trained_methods(name, dtype):
    model, batch = trained_method(name), batch_of(range(100, 112), (64, 80))
    wanted = labels_of(model, batch)
    with torch.autocast('cpu', dtype=dtype):
        found = labels_of(model, batch)
    assert share(found, wanted) >= 0.995
    # Preprocessor and weights are turned, images are as they were read.
    found = labels_of(model.to(dtype), batch)
    assert share(found, wanted) >= 0.995


class FixedProposals(nn.Module):
    """Overlapping masks whose classes hardly differ."""

    def __init__(self, queries, channels):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        rows = torch.linspace(-1, 1, 16)
        centres = torch.rand(queries, 2, generator=generator) * 2 - 1
        distances = (rows[:, None] - centres[:, :1, None]) ** 2
        distances = distances + (rows - centres[:, 1:, None]) ** 2
        self.masks = 3 - 6 * distances
        self.embeddings = torch.randn(queries, channels, generator=generator)

    def forward(self, feats):
        return MaskProposals(
            self.embeddings[None, None], self.masks[None, None]
        )


@pytest.mark.parametrize('name', ['zsseg', 'scan'])
def test_labels_of_proposals_that_are_nearly_alike(name, dtype):
    model = build_method(name)
    head = model.decode_head
    head.proposals = FixedProposals(50, 16)
    head.ensemble_weight, head.temperature = None, 0.1
    head.integration = None
    batch = batch_of([0])
    wanted = labels_of(model, batch)
    with torch.autocast('cpu', dtype=dtype):
        found = labels_of(model, batch)
    assert share(found, wanted) >= 0.995


def test_steps_that_decide_between_classes(dtype):
    torch.manual_seed(0)
    probs, regions = torch.rand(2, 20, 7).softmax(dim=2)
    valid = torch.ones(20, dtype=torch.bool)
    masks = torch.rand(2, 20, 9, 9)
    image, text = torch.randn(2, 16, 5, 5), torch.randn(7, 1, 16)
    pixels = PixelTextHead(
        dict(type='DenseBCELoss'), in_channels=16, text_channels=16
    )
    pixels.projection = nn.Identity()
    similar = Similarity(16, 2)
    similar.q, similar.k = nn.Identity(), nn.Identity()
    feats = SimpleNamespace(mask_features=image)
    # The attention of a block whose queries and keys are known.
    heads = torch.randn(2, 2, 3, 10, 8)
    block = SimpleNamespace(
        ln_1=nn.Identity(), attn=SimpleNamespace(heads=lambda x, names: heads)
    )
    crops = SimpleNamespace(logit_scale=nn.Parameter(torch.tensor(2.0)))
    steps = [
        lambda: join_votes(probs[None].expand(2, -1, -1), masks),
        lambda: cosine_logits(image.movedim(1, -1), text[:, 0], 100.0),
        lambda: cost_volume(image, text),
        lambda: geometric_ensemble(probs, regions, valid, 0.8),
        lambda: with_no_object(probs, regions[:, 0]),
        lambda: pixels(feats, text),
        lambda: similar(
            image.flatten(2).transpose(1, 2),
            image.flatten(2, 3).transpose(1, 2),
        ),
        lambda: torch.cat(ClassAttention().attention(block, image)),
        lambda: ShiftedCLIP.similarities(
            crops, image[0, :, 0], image[1, :, 0]
        ),
    ]
    for step in steps:
        wanted = step()
        with torch.autocast('cpu', dtype=dtype):
            found = step()
        assert found.dtype == torch.float32
        assert torch.equal(found, wanted)


def test_steps_take_tensors_of_half_precision(dtype):
    probs, regions = torch.rand(2, 20, 7).softmax(dim=2).to(dtype)
    valid = torch.arange(20) < 15
    masks = torch.rand(2, 20, 9, 9).to(dtype)
    image, text = torch.randn(2, 25, 16).to(dtype), torch.randn(7, 16)
    maps = image.transpose(1, 2).unflatten(2, (5, 5))
    text = text.to(dtype)
    for step, *tensors in (
        (join_votes, probs[None].expand(2, -1, -1), masks),
        (geometric_ensemble, probs, regions[:15], valid, 0.8),
        (region_weights, regions[:15], valid),
        (with_no_object, probs, regions[:, 0]),
        (cosine_logits, image, text, 100.0),
        (cost_volume, maps, text[:, None]),
        (cosines, image),
    ):
        single = [
            x.float() if isinstance(x, Tensor) and x.dtype == dtype else x
            for x in tensors
        ]
        wanted = step(*single)
        with torch.autocast('cpu', dtype=dtype):
            found = step(*tensors)
        assert found.dtype == torch.float32
        assert torch.equal(found, wanted), step


@pytest.mark.parametrize('name', METHODS)
def test_models_of_half_precision_predict(name, dtype):
    model = build_method(name).to(dtype)
    (sample,) = model.test_step(batch_of([0]))
    assert sample.pred_sem_seg.data.shape == (1, 64, 64)
    model.test_cfg['keep_scores'] = True
    (sample,) = model.test_step(batch_of([0]))
    assert sample.seg_logits.data.dtype == torch.float32
    assert sample.seg_logits.data.isfinite().all()
