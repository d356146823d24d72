# SPDX-License-Identifier: Apache-2.0
"""Class weights of mask proposals, and scores of classes at pixels.

Letters: V views of an image, Q proposals, n valid proposals (proposals that
have a region), T class texts, H, W height and width in pixels.
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
    """Combine the probabilities of two classifiers by a geometric mean.

    The result is ``p ** a * g ** (1 - a)`` for seen classes and
    ``p ** (1 - a) * g ** a`` for all others. Here, p is the probability of the
    proposal classifier, g the probability of the region classifier (1 for
    proposals without a region), and a is ``weight``. The result is not
    normalised.

    Args:
        proposal_probs (Tensor): Probabilities p of T class texts for Q
            proposals, (Q, T).
        region_probs (Tensor): Probabilities g for the n valid proposals,
            (n, T).
        valid (Tensor): Which proposals have a region, (Q,) bool.
        weight (float): Exponent a in (0, 1].
        seen (Tensor, optional): Which classes training has seen, (T,) bool.
            None: no class.

    Returns:
        Tensor: Class weights of the proposals, (Q, T).
    """
    exponents = proposal_probs.new_full(proposal_probs.shape[1:], weight)
    if seen is not None:
        exponents[seen] = 1 - weight
    weights = proposal_probs ** (1 - exponents)
    weights[valid] *= region_probs**exponents
    return weights


@in_float32
def join_votes(weights: Tensor, masks: Tensor) -> Tensor:
    """Compute scores of classes at pixels from weighted mask proposals.

    The score is the sum of weight times mask over all Q proposals.

    Args:
        weights (Tensor): Weights of T class texts for the proposals of V
            views, (V, Q, T).
        masks (Tensor): Mask probabilities of the proposals, (V, Q, H, W).

    Returns:
        Tensor: Scores of the classes at each pixel, (V, T, H, W).
    """
    return torch.einsum('vqt,vqhw->vthw', weights, masks)


@in_float32
def contenders(strengths: Tensor, masks: Tensor, share: float) -> Tensor:
    """Find the proposals that are almost the strongest at some pixel.

    The strength of a proposal at a pixel is its mask probability times its
    largest class weight.

    Args:
        strengths (Tensor): Largest class weight of each proposal, (Q,).
        masks (Tensor): Mask probabilities of the proposals, (Q, H, W).
        share (float): Part of the largest strength at a pixel that a proposal
            must reach there, in [0, 1]. With 0, all proposals are kept.

    Returns:
        Tensor: Which proposals to keep, (Q,) bool.
    """
    votes = strengths[:, None, None] * masks
    return (votes >= share * votes.amax(dim=0)).flatten(1).any(dim=1)


@in_float32
def region_weights(region_probs: Tensor, valid: Tensor) -> Tensor:
    """Class weights of the proposals from the region classifier alone.

    Args:
        region_probs (Tensor): Probabilities of T class texts for the n valid
            proposals, (n, T).
        valid (Tensor): Which proposals have a region, (Q,) bool.

    Returns:
        Tensor: Class weights of the proposals, (Q, T); 0 for proposals without
        a region.
    """
    weights = region_probs.new_zeros(len(valid), region_probs.shape[1])
    weights[valid] = region_probs
    return weights


def penalise_seen(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Subtract a penalty from the scores of classes that training has seen.

    A trained model prefers seen classes; the penalty compensates for this.

    Args:
        scores (Tensor): Scores of T class texts, (T, ...); overwritten.
        seen (Tensor): Which classes training has seen, (T,) bool.
        penalty (float): Value to subtract.

    Returns:
        Tensor: ``scores`` itself.
    """
    shares = (seen * penalty).to(scores)
    return scores.sub_(shares.view(-1, *[1] * (scores.ndim - 1)))


@in_float32
def with_no_object(
    weights: Tensor, no_object: Tensor, eps: float = 1e-8
) -> Tensor:
    """Normalise class weights together with the class "no object".

    For one proposal with weights w and probability v of "no object", w becomes
    ``(1 - v) * w / sum(w)``. Then ``eps`` is added to all w and to v, and all
    are divided by their common sum. SCAN does this for vocabularies of
    hundreds of classes, whose weights from :func:`geometric_ensemble` are
    small.

    Args:
        weights (Tensor): Weights of T class texts for Q proposals, (Q, T),
            not negative.
        no_object (Tensor): Probability of "no object", (Q,).
        eps (float): Small value that avoids weights of 0.

    Returns:
        Tensor: Normalised class weights, (Q, T).
    """
    total = weights.sum(dim=1, keepdim=True)
    shares = weights / total.clamp(min=torch.finfo(total.dtype).tiny)
    v = no_object[:, None]
    joint = torch.cat([shares * (1 - v), v], dim=1) + eps
    return (joint / joint.sum(dim=1, keepdim=True))[:, :-1]
