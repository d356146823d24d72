# SPDX-License-Identifier: Apache-2.0
"""Count the operations and parameters of a model.

One multiply-add counts as one FLOP, as in most papers on segmentation.
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
    """Operations of one call of a model.

    Attributes:
        flops (float): Multiply-adds.
        parts (dict[str, float]): Multiply-adds of each direct submodule of
            the model, by its name.
        unsupported (dict[str, int]): Number of calls of each operator that is
            not counted, by its name. Most of these operators are elementwise
            and cheap.
    """

    flops: float
    parts: dict[str, float]
    unsupported: dict[str, int]


@dataclass(frozen=True)
class TextCount:
    """Operations of a text tower that encodes the texts of a vocabulary.

    Attributes:
        prompts (int): Number of different prompts.
        tokens (int): Number of tokens of the longest prompt.
        flops (float): Multiply-adds for all prompts, each padded to the
            length of the longest prompt.
    """

    prompts: int
    tokens: int
    flops: float


def count_view(model: BaseOpenVocabSegmentor, size: tuple[int, int]) -> Count:
    """Count the operations of a model for one view of an image.

    A view is a window, or the whole image. The operations that compute text
    embeddings are not counted.

    Args:
        model (BaseOpenVocabSegmentor): The model.
        size (tuple[int, int]): Height and width of the view.

    Returns:
        Count: Operations of one call of ``encode_decode``.
    """
    return _count(model, model.encode_decode, size)


def count_image(model: BaseOpenVocabSegmentor, size: tuple[int, int]) -> Count:
    """Count the operations for all views of an image and for their fusion.

    The operations that compute text embeddings are not counted.

    Args:
        model (BaseOpenVocabSegmentor): The model.
        size (tuple[int, int]): Height and width of the image after the test
            pipeline.

    Returns:
        Count: Operations of one call of ``inference``.
    """
    return _count(model, model.inference, size)


def count_text(model: BaseOpenVocabSegmentor) -> list[TextCount]:
    """Count the operations that encode the class texts of a model.

    Args:
        model (BaseOpenVocabSegmentor): The model with its vocabulary.

    Returns:
        list[TextCount]: Operations of each text tower. Text embeddings from a
        file need no operations and are left out.
    """
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
    """Count the parameters of a model and of its direct submodules.

    Args:
        model (BaseOpenVocabSegmentor): The model.

    Returns:
        dict[str, tuple[int, int]]: Number of all parameters and number of
        trained parameters, by name of the submodule. The name of the whole
        model is ``''``.
    """
    return {
        name: (
            sum(p.numel() for p in part.parameters()),
            sum(p.numel() for p in part.parameters() if p.requires_grad),
        )
        for name, part in [('', model), *model.named_children()]
    }


def window_size(model: BaseOpenVocabSegmentor) -> tuple[int, int]:
    """Size of the sliding windows that the config uses in tests.

    Args:
        model (BaseOpenVocabSegmentor): The model.

    Returns:
        tuple[int, int]: Height and width of a window.

    Raises:
        InputError: If the config tests whole images.
    """
    if model.test_cfg['mode'] != 'slide':
        raise InputError(
            "the config tests whole images (test_cfg.mode='whole'), which "
            'have no fixed size; add --shape HEIGHT WIDTH'
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
    """Use random text embeddings, so that the text tower is not counted."""
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
    """Module that calls a method of a model; fvcore traces only modules."""

    def __init__(
        self, model: BaseOpenVocabSegmentor, call: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.model = model
        self._call = call

    def forward(self, img: Tensor) -> list[Tensor]:
        return _tensors_of(self._call(img))


def _tensors_of(value: object) -> list[Tensor]:
    """Find all tensors in the output of a model."""
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
    # With gradients, since without them PyTorch uses fused layers, which
    # the tracer cannot see; activations for the gradients are not kept.
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
    """Count with fvcore's formula; fvcore itself rejects a single vector."""
    weight = get_shape(inputs[2])
    return prod(get_shape(inputs[0])) * (4 if weight is None else 5)


def _attention_flops(inputs: list, outputs: list) -> int:
    """Count the two matrix products of attention, a fused operator.

    fvcore cannot count this operator.
    """
    query, key, value = (get_shape(x) for x in inputs[:3])
    pairs = prod(query[:-1]) * key[-2]
    return pairs * (query[-1] + value[-1])
