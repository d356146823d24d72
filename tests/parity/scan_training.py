# SPDX-License-Identifier: Apache-2.0
"""A training step of SCAN's cases."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from common import gradient_norms, labelled_batch

from ovseg_mm.models.utils import mask_targets, uncertain_points


def run(case: Mapping, model: torch.nn.Module) -> dict:
    """Losses, gradients, assignments and points of a batch."""
    head, loss = model.decode_head, model.decode_head.loss_decode
    batch = labelled_batch(case['inputs']['images'], case['inputs']['labels'])
    model.train()
    batch = model.data_preprocessor(batch, training=True)
    loss.rand = _Draws(case)
    losses = model(**batch, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    names = case['loss_names']
    weighted = torch.stack([losses[f'decode.{name}'] for name in names])
    weights = {
        name: case['config']['loss'][f'{name}_weight']
        for name in ('class', 'mask', 'dice')
    }
    weights['ce'] = weights.pop('class')
    weights = torch.tensor([weights[name.split('_')[1]] for name in names])
    norms, total_norm = gradient_norms(case, model, case['gradient_names'])
    outputs = dict(
        losses=weighted,
        unweighted_losses=weighted / weights,
        total_loss=total[None],
        gradient_norms=norms,
        total_gradient_norm=total_norm,
    )
    with torch.no_grad():
        # The state that has no loss is asked for as well.
        head.proposals.decoder.skip_penultimate = False
        feats = model.extract_feat(batch['inputs'])
        text = model.text_embeddings(model.train_vocabulary)
        outputs.update(_matches(case, loss, head(feats, text), batch))
    return outputs


class _Draws:
    """The random numbers of a case in the order of their use."""

    def __init__(self, case: Mapping) -> None:
        golden, images = case['golden'], len(case['inputs']['images'])
        aux = sum(name.startswith('loss_ce_') for name in case['loss_names'])
        self.draws = iter(
            torch.from_numpy(golden[f'draw_{part}'])
            for state in ('final', *(f'aux{i}' for i in range(aux + 1)))
            for part in (
                *(f'matcher_{state}_image{i}' for i in range(images)),
                f'candidates_{state}',
                f'random_{state}',
            )
        )

    def __call__(self, shape: tuple[int, ...]) -> torch.Tensor:
        draw = next(self.draws)
        assert tuple(draw.shape) == tuple(shape)
        return draw


def _matches(case: Mapping, loss, predictions, batch: Mapping) -> dict:
    """Assignments and points of all states, the last one first."""
    targets = [
        mask_targets(sample.gt_sem_seg.data[0], 255)
        for sample in batch['data_samples']
    ]
    draw, (logits, masks) = _Draws(case), predictions
    order = [-1, *range(len(logits) - 1)]
    outputs = dict(class_logits=logits[order][:, :, ::2])
    first = torch.from_numpy(case['golden']['draw_matcher_final_image0'])
    outputs['cost_final'] = loss.matcher.costs(
        logits[-1, 0], masks[-1, 0], targets[0], lambda shape: first
    )
    for state in order:
        name = 'final' if state < 0 else f'aux{state}'
        pairs = [
            loss.matcher(*image, draw)
            for image in zip(logits[state], masks[state], targets)
        ]
        outputs[f'match_{name}'] = torch.cat(
            [
                F.pad(torch.stack(pair, dim=1), (1, 0), value=image)
                for image, pair in enumerate(pairs)
            ]
        )
        points = uncertain_points(
            torch.cat(
                [
                    mask[queries]
                    for mask, (queries, _) in zip(masks[state], pairs)
                ]
            ),
            loss.num_points,
            draw,
            loss.oversample_ratio,
            loss.importance_ratio,
        )
        by_x = points[..., 0].argsort(dim=1)[..., None].expand(-1, -1, 2)
        outputs[f'points_{name}'] = points.gather(1, by_x)
    return outputs
