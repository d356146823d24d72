# SPDX-License-Identifier: Apache-2.0
"""Regions of fixed masks of ZSSeg's cases, and their votes."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from seeded import seeded_array, seeded_image, seeded_labels
from zsseg_inference import changed, region_logits

from ovseg_mm.models.utils import masked_crop

CLIP_MEAN = 255 * torch.tensor([0.48145466, 0.4578275, 0.40821073])


@torch.no_grad()
def run(case: Mapping, model: torch.nn.Module) -> dict:
    """Crops, their logits and the scores of the masks."""
    spec, head = case['inputs']['fixed_masks'], model.decode_head
    encoder = model.region_encoder
    size = spec['height'], spec['width']
    entry = case['inputs']['images'][0]
    img = torch.from_numpy(seeded_image(entry['name'], *size, entry['seed']))
    img = img.permute(2, 0, 1).float()
    masks = _fixed_masks(spec)
    regions = encoder(img, masks)
    crops, valid, boxes = encoder.crop(img, masks)
    inside = masks[valid]
    if not encoder.matting:
        inside = inside > encoder.mask_threshold
    number, fill = spec['raw_crop'], CLIP_MEAN
    if encoder.fill == 'zero':
        fill = None
    raw = masked_crop(img, inside[number], boxes[number], fill)
    logits = seeded_array(
        'proposal_logits',
        (len(masks), len(case['class_texts']) + 1),
        case['seed'],
        4.0,
    )
    outputs = dict(
        crop_valid=valid,
        crop_boxes=boxes,
        crop_raw=raw.round(),
        crop_regions=crops,
        crop_features=F.normalize(regions.embeddings, dim=1),
        crop_logits=region_logits(case, model, regions.embeddings),
    )
    with changed(encoder, matting=True):
        outputs['crop_regions_matting'] = encoder.crop(img, masks)[0]
    outputs['crop_region_expanded'] = _expanded_crop(encoder, img)
    for name, weight, factor in (
        ('ens', head.ensemble_weight, 1),
        ('noens', None, 1),
        ('cliponly', 0, 1),
        ('allinvalid', head.ensemble_weight, 0.2),
    ):
        with changed(head, ensemble_weight=weight):
            outputs[f'crop_scores_{name}'] = _scores(
                model, img, masks * factor, torch.from_numpy(logits)
            )
    return outputs


def _fixed_masks(spec: Mapping) -> torch.Tensor:
    """The masks that a case lists: block by block, then four of its own."""
    size = spec['height'], spec['width']
    blocks = torch.from_numpy(
        seeded_labels(
            spec['name'],
            *size,
            spec['blocks'],
            spec['seed'],
            spec['ignore_every'],
        )
    )
    inside = [blocks == block for block in range(spec['blocks'])]
    pixel = torch.zeros(size, dtype=torch.bool)
    pixel[tuple(spec['pixel'])] = True
    inside += [pixel & False, pixel | True, pixel, blocks == 255]
    inside = torch.stack(inside)
    return torch.where(inside, spec['inside'], spec['outside'])


def _expanded_crop(encoder: torch.nn.Module, img: torch.Tensor):
    height, width = img.shape[1:]
    mask = torch.full((1, height, width), 0.05)
    rows = slice(height // 3, height // 2)
    mask[:, rows, width // 4 : width // 2 - 3] = 0.95
    with changed(encoder, expand_ratio=1.5, fill='zero'):
        return encoder.crop(img, mask)[0]


def _scores(model, img, masks, class_logits) -> torch.Tensor:
    head, weights = model.decode_head, None
    if head.uses_regions:
        regions = model.region_encoder(img, masks)
        text = model.region_text_embeddings(model.vocabulary)
        weights = head.class_weights(
            class_logits,
            head.region_logits(regions.embeddings, text),
            regions.valid,
            model._seen('cpu'),
        )
    else:
        weights = head.class_weights(class_logits)
    return torch.einsum('qt,qhw->thw', weights, masks)
