# SPDX-License-Identifier: Apache-2.0
"""A step of SCAN's finetuning of CLIP."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from common import gradient_norms
from seeded import seeded_image, seeded_labels

from ovseg_mm.checkpoints import recognise
from ovseg_mm.models.text_encoder import tokenize_prompts
from ovseg_mm.models.utils import patches_with_mask


def run(case: Mapping, model: torch.nn.Module) -> dict:
    """Loss, gradients and embeddings of a batch of crops."""
    chosen = torch.from_numpy(case['golden']['replaced_patches'])
    encoder, captions = model.region_encoder, list(case['class_texts'])
    encoder.shift.rand = lambda shape: (1.0 - chosen).view(shape)
    pairs = _pairs(case, encoder.region_size)
    model.train()
    (loss,) = model(*pairs, captions, mode='loss').values()
    loss.backward()
    norms, total_norm = gradient_norms(case, model, case['gradient_names'])
    outputs = dict(gradient_norms=norms, total_gradient_norm=total_norm)
    with torch.no_grad():
        image, text = model(*pairs, captions), model._texts(captions)
        tokens = model.context_encoder(pairs[2].float()).class_tokens()
        patches = patches_with_mask(pairs[1], encoder.clip.patch_size)
        replaced = encoder.shift(patches, tokens)
        length = model.text_encoder.context_length
        ids = tokenize_prompts(captions, length)
        outputs.update(
            foreground_patches=patches,
            replaced_patches=torch.stack([w for w, _ in replaced.values()]),
            tokens=F.pad(ids, (0, length - ids.shape[1])),
            image_features=image,
            text_features=text,
            logits=model.similarities(image, text),
            loss=loss[None],
        )
    _check_trainable(case, model)
    return outputs


def _pairs(case: Mapping, side: int) -> tuple[torch.Tensor, ...]:
    """Crops (B, 3, S, S), their masks (B, S, S) and whole images."""
    crops, masks, images = [], [], []
    for pair in case['inputs']['pairs']:
        for part, name in ((crops, 'crop'), (images, 'whole')):
            img = seeded_image(pair[name], side, side, pair['seed'])
            part.append(torch.from_numpy(img).permute(2, 0, 1))
        labels = seeded_labels(
            pair['mask'],
            side,
            side,
            pair['mask_classes'],
            pair['seed'],
            ignore_every=side * side,
        )
        masks.append(torch.from_numpy(labels == 0))
    return tuple(map(torch.stack, (crops, masks, images)))


def _check_trainable(case: Mapping, model: torch.nn.Module) -> None:
    """Compare the names of trained parameters with the reference's."""
    learned = {name for name, p in model.named_parameters() if p.requires_grad}
    layout = recognise(entry['name'] for entry in case['parameters'])
    expected = set()
    for entry in case['parameters']:
        if entry['name'] in case['trainable']:
            tensor = {entry['name']: torch.empty(entry['shape'])}
            expected |= layout.convert(tensor).state_dict.keys()
    assert learned == expected
