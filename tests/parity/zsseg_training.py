# SPDX-License-Identifier: Apache-2.0
"""A training step of ZSSeg's cases."""

from collections.abc import Mapping

import torch
from common import Taps, gradient_norms, labelled_batch

from ovseg_mm.models.utils import mask_targets


def run(case: Mapping, model: torch.nn.Module) -> dict:
    """Losses, gradients and assignments of a batch."""
    batch = labelled_batch(case['inputs']['images'], case['inputs']['targets'])
    model.train()
    batch = model.data_preprocessor(batch, training=True)
    with Taps().outputs(predictions=model.decode_head) as taps:
        losses = model(**batch, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    order = case['outputs']['losses']['what'].partition('order ')[2].split()
    named = case['outputs']['grad_norms']['what'].partition(' for ')[2].split()
    norms, total_norm = gradient_norms(case, model, named)
    outputs = dict(
        losses=torch.stack([losses[f'decode.{name}'] for name in order]),
        total_loss=loss[None],
        grad_norms=norms,
        grad_norm_all=total_norm,
        **_assignments(model, batch, taps.last('predictions')),
    )
    model.zero_grad()
    model.eval()
    return outputs


def _assignments(model, batch: Mapping, predictions) -> dict:
    outputs, loss = {}, model.decode_head.loss_decode
    for image, sample in enumerate(batch['data_samples']):
        target = mask_targets(sample.gt_sem_seg.data[0], 255)
        for layer in range(len(predictions.class_logits)):
            pairs = loss.matcher(
                predictions.class_logits[layer, image],
                predictions.mask_logits[layer, image],
                target,
                loss.rand,
            )
            outputs[f'assign_layer{layer}_image{image}'] = torch.stack(pairs)
    return outputs
