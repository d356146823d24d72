# SPDX-License-Identifier: Apache-2.0
"""Counting what a model computes and learns.

One multiply-add is one FLOP, as papers of this field count.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import get_shape
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ovseg_mm.models.segmentors import BaseOpenVocabSegmentor
from ovseg_mm.models.text_encoder import tokenize_prompts
from ovseg_mm.utils.errors import InputError


@dataclass(frozen=True)
class Count:
    """What one call computes.

    Attributes:
        flops (float): Multiply-adds.
        parts (dict[str, float]): Those of the children of the model.
        unsupported (dict[str, int]): Operators that are not counted, and how
            often each is called. Most are cheap ones that treat elements one
            by one.
    """

    flops: float
    parts: dict[str, float]
    unsupported: dict[str, int]


@dataclass(frozen=True)
class TextCount:
    """What a vocabulary costs a text tower, once.

    Attributes:
        prompts (int): Different prompts.
        tokens (int): Tokens of the longest.
        flops (float): Multiply-adds of all prompts, each as long as the
            longest.
    """

    prompts: int
    tokens: int
    flops: float


def count_view(model: BaseOpenVocabSegmentor, size: tuple[int, int]) -> Count:
    """Count one view: image features, head, text embeddings given.

    Args:
        model (BaseOpenVocabSegmentor): The model.
        size (tuple[int, int]): Height and width of the view.

    Returns:
        Count: Of one call of ``encode_decode``.
    """
    return _count(model, model.encode_decode, size)


def count_image(model: BaseOpenVocabSegmentor, size: tuple[int, int]) -> Count:
    """Count a whole image: its views, their fusion, text embeddings given.

    Args:
        model (BaseOpenVocabSegmentor): The model.
        size (tuple[int, int]): Height and width of the image as it leaves
            the pipeline.

    Returns:
        Count: Of one call of ``inference``.
    """
    return _count(model, model.inference, size)


def count_text(model: BaseOpenVocabSegmentor) -> list[TextCount]:
    """Count the text side of the model's vocabulary, for each text tower."""
    counts = []
    encoder: Any
    for encoder, bank in model.text_sides:
        if bank.embeddings is not None:
            continue
        prompts = list(dict.fromkeys(bank.prompts_of(model.vocabulary)))
        tokens = tokenize_prompts(prompts, encoder.context_length)
        device = next(encoder.parameters()).device
        one = _analyse(encoder, tokens[:1].to(device)).total()
        counts.append(
            TextCount(len(prompts), tokens.shape[1], one * len(prompts))
        )
    return counts


def count_parameters(
    model: BaseOpenVocabSegmentor,
) -> dict[str, tuple[int, int]]:
    """Parameters of the model's parts, all and trained ones.

    Args:
        model (BaseOpenVocabSegmentor): The model.

    Returns:
        dict[str, tuple[int, int]]: By name of the part; ``''`` is the model.
    """
    return {
        name: (
            sum(p.numel() for p in part.parameters()),
            sum(p.numel() for p in part.parameters() if p.requires_grad),
        )
        for name, part in [('', model), *model.named_children()]
    }


def window_size(model: BaseOpenVocabSegmentor) -> tuple[int, int]:
    """Height and width of the views that tests cut images into.

    Args:
        model (BaseOpenVocabSegmentor): The model.

    Returns:
        tuple[int, int]: Height and width.

    Raises:
        InputError: If they do not cut them.
    """
    if model.test_cfg['mode'] != 'slide':
        raise InputError(
            "the config tests whole images (test_cfg.mode='whole'); name "
            'their size with --shape'
        )
    return tuple(model.test_cfg['crop_size'])


def _count(
    model: BaseOpenVocabSegmentor,
    call: Callable[[Tensor], Tensor],
    size: tuple[int, int],
) -> Count:
    device = next(model.parameters()).device
    img = torch.randn(1, 3, *size, device=device)
    model.eval()
    with _random_text(model):
        analysis = _analyse(_Call(model, call), img)
    parts = {
        name.removeprefix('model.'): flops
        for name, flops in analysis.by_module().items()
        if name.count('.') == 1 and flops
    }
    return Count(analysis.total(), parts, dict(analysis.unsupported_ops()))


@contextmanager
def _random_text(model: BaseOpenVocabSegmentor) -> Iterator[None]:
    """Spare the model the encoding of texts, which counts by itself."""
    sides = [s for s in model.text_sides if s.bank.embeddings is None]
    for side in sides:
        encoder: Any = side.encoder
        text = torch.randn(
            model.scored_vocabulary.num_texts,
            side.bank.prompts_per_class,
            encoder.embed_dims,
            device=next(encoder.parameters()).device,
        )
        side.fill(model.scored_vocabulary, F.normalize(text, dim=-1))
    try:
        yield
    finally:
        for side in sides:
            side.clear()


class _Call(nn.Module):
    """A method of a model as a module, for the tracer."""

    def __init__(
        self, model: BaseOpenVocabSegmentor, call: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.model = model
        self._call = call

    def forward(self, img: Tensor) -> list[Tensor]:
        return _tensors_of(self._call(img))


def _tensors_of(value: object) -> list[Tensor]:
    """All tensors in what a model gives."""
    if isinstance(value, Tensor):
        return [value]
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors_of(item)]
    return []


def _analyse(module: nn.Module, *inputs: Tensor) -> FlopCountAnalysis:
    # With gradients, since PyTorch's fused shortcuts without them hide
    # whole layers from the tracer; what they would need is not kept.
    with torch.enable_grad(), saved_tensors_hooks(_forget, _forget):
        analysis = FlopCountAnalysis(module.eval(), inputs)
        analysis.set_op_handle(
            'aten::scaled_dot_product_attention', _attention_flops
        )
        analysis.set_op_handle('aten::layer_norm', _layer_norm_flops)
        analysis.unsupported_ops_warnings(False)
        analysis.uncalled_modules_warnings(False)
        analysis.tracer_warnings('none')
        analysis.total()
    return analysis


def _forget(tensor: Any) -> Any:
    return None


def _layer_norm_flops(inputs: list, outputs: list) -> int:
    """As fvcore counts, which refuses to norm a single vector."""
    weight = get_shape(inputs[2])
    return prod(get_shape(inputs[0])) * (4 if weight is None else 5)


def _attention_flops(inputs: list, outputs: list) -> int:
    """Both products of attention; fvcore does not know the fused operator."""
    query, key, value = (get_shape(x) for x in inputs[:3])
    pairs = prod(query[:-1]) * key[-2]
    return pairs * (query[-1] + value[-1])
