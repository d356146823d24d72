# SPDX-License-Identifier: Apache-2.0
"""Predictions of ZSSeg's cases, and all that leads to them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from common import Taps, image_batch, text_rows
from seeded import seeded_array

OURS = dict(zip('res2 res3 res4 res5'.split(), range(4)))


def run(case: Mapping, model: torch.nn.Module) -> dict:
    """Outputs of the first image of a case."""
    entry = case['inputs']['images'][0]
    taps = Taps().inputs(net_input=model.backbone)
    taps.outputs(
        features=model.backbone,
        pixel=model.neck,
        predictions=model.decode_head,
        regions=model.region_encoder,
    )
    with taps:
        (sample,) = _predict(model, entry)
    pixel, predictions = taps.last('pixel'), taps.last('predictions')
    outputs = dict(
        text_features=text_rows(model),
        net_input=taps.last('net_input')[0][0],
        mask_features=pixel.mask_features[0],
        mask_logits=predictions.mask_logits[-1, 0],
        class_logits=predictions.class_logits[-1, 0],
        mask_logits_up=model._full_size(
            predictions.mask_logits[-1, 0], (entry['height'], entry['width'])
        ),
        scores_ens=sample.seg_logits.data,
        labels_ens=sample.pred_sem_seg.data[0],
        **_all_states(model, pixel),
    )
    if 'regions' in taps:  # not where proposals alone decide
        regions = taps.last('regions')
        outputs['region_valid'] = regions.valid
        outputs['region_logits'] = region_logits(
            case, model, regions.embeddings
        )
    for name, index in OURS.items():
        outputs[f'features_{name}'] = taps.last('features')[index][0]
    with torch.no_grad():
        batch = model.data_preprocessor(image_batch(entry), False)
        outputs['scores_input'] = model.encode_decode(batch['inputs'])[0]
    for ending, weight in (('noens', None), ('cliponly', 0)):
        with changed(model.decode_head, ensemble_weight=weight):
            (sample,) = _predict(model, entry)
        outputs[f'scores_{ending}'] = sample.seg_logits.data
        outputs[f'labels_{ending}'] = sample.pred_sem_seg.data[0]
    return outputs


@torch.no_grad()
def _all_states(model: torch.nn.Module, pixel) -> dict:
    """What evaluation does not compute: the states of all layers."""
    proposals = model.decode_head.proposals
    proposals.train()
    states = proposals.decoder(pixel.maps, None)[:, 0]
    proposals.eval()
    return dict(
        decoder_states=states,
        mask_embeddings=proposals.mask_embed(states),
        query_embeddings=proposals.class_embed(states),
    )


@contextmanager
def changed(module: torch.nn.Module, **settings: object) -> Iterator[None]:
    """Other settings for a while."""
    before = {name: getattr(module, name) for name in settings}
    try:
        vars(module).update(settings)
        yield
    finally:
        vars(module).update(before)


def region_logits(
    case: Mapping, model: torch.nn.Module, embeddings: torch.Tensor
) -> torch.Tensor:
    """Logits of regions with the column for no object, which nobody uses."""
    text = model.region_text_embeddings(model.vocabulary)[:, 0]
    no_object = model.decode_head.no_object_embedding
    for entry in case['parameters']:
        if entry['name'] == '_region_clip_adapter.non_object_embedding':
            no_object = torch.from_numpy(
                seeded_array(
                    entry['name'],
                    entry['shape'],
                    case['seed'],
                    entry['scale'],
                    entry['offset'],
                )
            )
    text = torch.cat([text, F.normalize(no_object, dim=1)])
    return model.decode_head.region_logits(embeddings, text[:, None])


def _predict(model: torch.nn.Module, entry: Mapping) -> list:
    with torch.no_grad():
        return model.test_step(image_batch(entry))
