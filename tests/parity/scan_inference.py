# SPDX-License-Identifier: Apache-2.0
"""Predictions of SCAN's cases, and all that leads to them."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from common import Taps, image_batch, text_rows

from ovseg_mm.models.text_encoder import tokenize_prompts
from ovseg_mm.models.utils import patches_with_mask, region_masks
from ovseg_mm.utils.resize import resize


@torch.no_grad()
def run(case: Mapping, model: torch.nn.Module) -> dict:
    """Outputs of the image of a case."""
    steps = case['strides']
    chosen = torch.from_numpy(case['golden']['replaced_patches'])
    # The smallest numbers are chosen.
    model.region_encoder.shift.rand = lambda shape: (1.0 - chosen).view(shape)
    batch = image_batch(
        case['inputs']['image'], size=case['config']['output_size']
    )
    with _tap(model) as taps:
        (sample,) = model.test_step(batch)
    outputs = dict(
        **_pixels(steps, taps),
        **_decoder(case, model, taps),
        **_context(case, model, taps),
        **_texts(case, model),
        in_vocabulary_logits=taps['predictions'][0].class_logits[-1, 0],
        **_regions(case, model, taps),
        scores=_spatial(sample.seg_logits.data, steps.get('scores', 1)),
        labels=sample.pred_sem_seg.data[0],
    )
    return outputs


def _tap(model: torch.nn.Module) -> Taps:
    head = model.decode_head
    decoder, sim = head.proposals.decoder, head.integration
    taps = Taps().outputs(
        backbone=model.backbone,
        pixel=model.neck,
        states=decoder.norm,
        filtered=sim.filter,
        memory=sim.memory_proj,
        enriched=sim,
        context=model.context_encoder,
        predictions=head,
        regions=model.region_encoder,
    )
    taps.inputs(crops=model.region_encoder, encoder=sim.encoder)
    for layer in decoder.layers:
        taps.inputs(layers=layer)
    return taps


def _pixels(steps: Mapping, taps: Taps) -> dict:
    (pixel,), (maps,) = taps['pixel'], taps['backbone']
    outputs = dict(
        mask_features=_spatial(
            pixel.mask_features[0], steps.get('mask_features', 1)
        )
    )
    for stage, x in enumerate(maps, 2):
        name = f'res{stage}'
        outputs[f'backbone_{name}'] = _spatial(x[0], steps.get(name, 1))
    for level, x in enumerate(pixel.maps):
        step = steps.get('multi_scale_channels', 1)
        outputs[f'multi_scale_{level}'] = x[0, ::step]
    return outputs


def _decoder(case: Mapping, model: torch.nn.Module, taps: Taps) -> dict:
    steps, proposals = case['strides'], model.decode_head.proposals
    (pixel,), states = taps['pixel'], torch.stack(taps['states'])
    kept = steps.get('decoder_outputs', range(len(states)))
    chosen = states[list(kept)]
    masks = proposals.mask_logits(chosen, pixel.mask_features)[:, 0]
    embeddings = proposals.class_embed(chosen)[:, 0]
    empty = []
    for index, state in enumerate(states[:-1]):
        size = pixel.maps[index % len(pixel.maps)].shape[2:]
        logits = proposals.mask_logits(
            state, resize(pixel.mask_features, size)
        )
        empty.append((logits < 0).flatten(2).all(dim=2).sum())
    outputs = dict(
        decoder_class_embeddings=embeddings[
            ..., :: steps.get('embed_channels', 1)
        ],
        decoder_masks=_spatial(masks, steps.get('masks', 1)),
        all_masked_rows=torch.stack(empty),
    )
    for index, args in enumerate(taps['layers']):
        outputs[f'attention_mask_{index}'] = args[4][0]  # forbidden places
    return outputs


def _context(case: Mapping, model: torch.nn.Module, taps: Taps) -> dict:
    steps, (context,) = case['strides'], taps['context']
    blocks = model.region_encoder.shift.blocks
    weight = model.decode_head.integration.context_weight
    image = F.normalize(context.embedding, dim=1)
    fused = taps['encoder'][0][0] - weight * image[:, None]
    filtered = torch.cat(taps['filtered']).transpose(1, 2)
    side = round(filtered.shape[2] ** 0.5)
    filtered = filtered[:, :: steps.get('lfm_channels', 1)]
    return dict(
        clip_final_cls=context.embedding,
        clip_layer_cls=torch.cat([context.tokens[b][:, 0] for b in blocks]),
        frequency_module=filtered.unflatten(2, (side, side)),
        sim_memory=taps['memory'][0][0, :: steps.get('memory_tokens', 1)],
        sim_fused=fused[0, :, :: steps.get('fused_channels', 1)],
        sim_output=taps['enriched'][0][-1, 0],
    )


def _texts(case: Mapping, model: torch.nn.Module) -> dict:
    tower = model.text_encoder
    tokens = []
    for template in case['templates']:
        prompts = [template.format(text) for text in case['class_texts']]
        ids = tokenize_prompts(prompts, tower.context_length)
        tokens.append(F.pad(ids, (0, tower.context_length - ids.shape[1])))
    return dict(tokens=torch.stack(tokens), text_features=text_rows(model))


def _regions(case: Mapping, model: torch.nn.Module, taps: Taps) -> dict:
    encoder, (regions,) = model.region_encoder, taps['regions']
    img, masks, class_tokens = taps['crops'][0]
    crops, valid, boxes = encoder.crop(img, masks)
    inside = region_masks(
        masks[valid] > encoder.mask_threshold, boxes, encoder.region_size
    )
    patches = patches_with_mask(inside, encoder.clip.patch_size)
    replaced = encoder.shift(patches, class_tokens)
    logits = model.decode_head.region_logits(
        regions.embeddings, text_rows(model)[:, None]
    )
    step = case['strides'].get('region_step', 1)
    return dict(
        valid_masks=valid,
        region_boxes=boxes,
        regions=crops[::step, :, 16::32, 16::32],
        region_foreground_patches=patches,
        replaced_patches=torch.stack([w for w, _ in replaced.values()]),
        region_features=regions.embeddings,
        region_logits=logits,
    )


def _spatial(x: torch.Tensor, step: int) -> torch.Tensor:
    return x[..., ::step, ::step]
