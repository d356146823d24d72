# SPDX-License-Identifier: Apache-2.0
"""Weights of classes for mask proposals, and scores of classes at pixels.

A proposal is valid if its mask covers at least one pixel. Only valid
proposals are classified by the region classifier, which sees the part of the
image under the mask.

Letters: V views of an image, Q mask proposals, n valid proposals, T class
texts, H, W height and width in pixels.
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

    The result is ``p ** a * g ** (1 - a)`` for classes seen in training and
    ``p ** (1 - a) * g ** a`` for unseen classes. Here, p is the probability
    from the embedding of the proposal, g is the probability from the region
    classifier, and a is ``weight``. For proposals that are not valid, g is 1.
    The result is not normalised.

    Args:
        proposal_probs (Tensor): Probabilities p of T class texts for Q
            proposals, (Q, T).
        region_probs (Tensor): Probabilities g for the n valid proposals,
            (n, T).
        valid (Tensor): True for the n valid proposals, (Q,) bool.
        weight (float): Exponent a in (0, 1].
        seen (Tensor, optional): True for classes seen in training, (T,) bool.
            None: all classes are unseen.

    Returns:
        Tensor: Combined probability of each class for each proposal, not
        normalised, (Q, T).
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
        weights (Tensor): Weight of each of T class texts for each proposal
            of V views, (V, Q, T).
        masks (Tensor): Mask probabilities of the proposals, (V, Q, H, W).

    Returns:
        Tensor: Scores of the classes at each pixel, (V, T, H, W).
    """
    return torch.einsum('vqt,vqhw->vthw', weights, masks)


@in_float32
def contenders(strengths: Tensor, masks: Tensor, share: float) -> Tensor:
    """Find the proposals whose vote is close to the largest at some pixel.

    The vote of a proposal at a pixel is its mask probability times its
    largest class weight.

    Args:
        strengths (Tensor): Largest class weight of each proposal, (Q,).
        masks (Tensor): Mask probabilities of the proposals, (Q, H, W).
        share (float): Number in [0, 1]. A proposal is kept if, at one pixel
            or more, its vote is at least this share of the largest vote at
            the pixel. With 0, all proposals are kept.

    Returns:
        Tensor: True for proposals to keep, (Q,) bool.
    """
    votes = strengths[:, None, None] * masks
    return (votes >= share * votes.amax(dim=0)).flatten(1).any(dim=1)


@in_float32
def region_weights(region_probs: Tensor, valid: Tensor) -> Tensor:
    """Weights of classes for proposals, from the region classifier alone.

    Args:
        region_probs (Tensor): Probabilities of T class texts for the n valid
            proposals, (n, T).
        valid (Tensor): True for the n valid proposals, (Q,) bool.

    Returns:
        Tensor: Weight of each class for each proposal, (Q, T). It is the
        probability, or 0 for proposals that are not valid.
    """
    weights = region_probs.new_zeros(len(valid), region_probs.shape[1])
    weights[valid] = region_probs
    return weights


def penalise_seen(scores: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Subtract a penalty from the scores of classes seen in training.

    A trained model prefers these classes; the penalty compensates for this
    preference.

    Args:
        scores (Tensor): Scores of T class texts, (T, ...); overwritten.
        seen (Tensor): True for classes seen in training, (T,) bool.
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
    ``(1 - v) * w / sum(w)``. Next, ``eps`` is added to all w and to v.
    Finally, all w and v are divided by the sum of all w and v. SCAN uses this
    for vocabularies of hundreds of classes, because their weights from
    :func:`geometric_ensemble` are small.

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
