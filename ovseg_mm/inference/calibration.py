# SPDX-License-Identifier: Apache-2.0
"""Correction of scores, and combination of two classifiers.

Letters: V views of an image, Q proposals, n of them valid (they have a
region), T class texts, H, W pixels.
"""

import torch
from torch import Tensor

from .precision import in_float32


@in_float32
def geometric_ensemble(
    proposal_probs: Tensor,
    region_probs: Tensor,
    valid: Tensor,
    weight: float,
    seen: Tensor | None = None,
) -> Tensor:
    """Weighted geometric mean of two classifiers.

    p are the probabilities of the proposal classifier, g of the region
    classifier (1 for all classes of a proposal without a region), and a is
    the weight:

    - seen classes: ``p ** a * g ** (1 - a)``,
    - unseen classes, and all classes without ``seen``:
      ``p ** (1 - a) * g ** a``.

    Rows are not normalised again.

    Args:
        proposal_probs (Tensor): p, (Q, T).
        region_probs (Tensor): g of the valid proposals, (n, T).
        valid (Tensor): Which proposals have a region, (Q,) bool.
        weight (float): a in (0, 1].
        seen (Tensor, optional): Which classes are seen, (T,) bool.

    Returns:
        Tensor: Class weights, (Q, T).
    """
    exponents = proposal_probs.new_full(proposal_probs.shape[1:], weight)
    if seen is not None:
        exponents[seen] = 1 - weight
    weights = proposal_probs ** (1 - exponents)
    weights[valid] *= region_probs**exponents
    return weights


@in_float32
def join_votes(weights: Tensor, masks: Tensor) -> Tensor:
    """Scores of classes at pixels: the sum of the votes of all proposals.

    Args:
        weights (Tensor): Class weights of the proposals of each view,
            (V, Q, T).
        masks (Tensor): Their mask probabilities, (V, Q, H, W).

    Returns:
        Tensor: (V, T, H, W).
    """
    return torch.einsum('vqt,vqhw->vthw', weights, masks)


@in_float32
def contenders(strengths: Tensor, masks: Tensor, share: float) -> Tensor:
    """Proposals that come close to the strongest one at some pixel.

    Args:
        strengths (Tensor): Largest class weight of each proposal, (Q,).
        masks (Tensor): Mask probabilities, (Q, H, W).
        share (float): Part of the strongest vote at a pixel that a proposal
            must reach there, in [0, 1]. 0: all are contenders.

    Returns:
        Tensor: (Q,) bool.
    """
    votes = strengths[:, None, None] * masks
    return (votes >= share * votes.amax(dim=0)).flatten(1).any(dim=1)


@in_float32
def region_weights(region_probs: Tensor, valid: Tensor) -> Tensor:
    """Class weights of the region classifier alone.

    Args:
        region_probs (Tensor): Probabilities of the valid proposals, (n, T).
        valid (Tensor): Which proposals have a region, (Q,) bool.

    Returns:
        Tensor: (Q, T); a proposal without a region has no vote.
    """
    weights = region_probs.new_zeros(len(valid), region_probs.shape[1])
    weights[valid] = region_probs
    return weights


def penalise_seen(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """``scores[c] - penalty`` for every class c that training has seen.

    A model that was trained on some classes prefers them; the penalty gives
    the others a chance.

    Args:
        scores (Tensor): Class scores, (T, ...); overwritten.
        seen (Tensor): Which classes are seen, (T,) bool.
        penalty (float): In units of the scores.

    Returns:
        Tensor: ``scores``.
    """
    shares = (seen * penalty).to(scores)
    return scores.sub_(shares.view(-1, *[1] * (scores.ndim - 1)))


@in_float32
def with_no_object(
    weights: Tensor, no_object: Tensor, eps: float = 1e-8
) -> Tensor:
    """Normalise class weights again, together with no object.

    v is the probability of no object. The weights of a proposal become
    ``(1 - v) weights / sum(weights)``; then ``eps`` is added to them and to
    v, and all are divided by their sum. SCAN does this for vocabularies of
    hundreds of classes, since the weights that :func:`geometric_ensemble`
    gives them are small.

    Args:
        weights (Tensor): Class weights, (Q, T), not negative.
        no_object (Tensor): v, (Q,).
        eps (float): See above.

    Returns:
        Tensor: (Q, T).
    """
    total = weights.sum(dim=1, keepdim=True)
    shares = weights / total.clamp(min=torch.finfo(total.dtype).tiny)
    v = no_object[:, None]
    joint = torch.cat([shares * (1 - v), v], dim=1) + eps
    return (joint / joint.sum(dim=1, keepdim=True))[:, :-1]
