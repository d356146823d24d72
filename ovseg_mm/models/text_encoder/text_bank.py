# SPDX-License-Identifier: Apache-2.0
"""Text embeddings of a vocabulary, computed once and kept.

Letters: T class texts, P prompts a class (templates), C embedding width.
"""

import hashlib
import json
import os
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.dist import broadcast, get_dist_info
from mmengine.utils import track_iter_progress
from mmseg.utils.tokenizer import tokenize
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ovseg_mm.paths import cache_folder
from ovseg_mm.vocabulary import Vocabulary, get_templates

SYNONYMS = ('first', 'mean', 'whole')
# Prompts encoded at a time; bounds memory, has no influence on the result.
ENCODE_BATCH = 256


class TextBank:
    """Turns a vocabulary into text embeddings.

    While the tower is trained every call encodes with gradients. Otherwise
    the embeddings are computed once per vocabulary and weights and kept, in
    memory and on disk (safetensors files under the user's cache folder,
    ``$OVSEG_CACHE``).

    Args:
        templates (str | list[str]): See
            :func:`ovseg_mm.vocabulary.get_templates`.
        synonyms (str): What a class with several texts is encoded as:
            ``'first'`` the first one alone; ``'mean'`` the normalised mean
            of all, within each template; ``'whole'`` the texts joined by
            ``', '`` in one prompt.
        average_templates (bool): Whether the templates of a class are
            averaged and normalised again, so that P is 1.
    """

    def __init__(
        self,
        templates: str | list[str] = 'single',
        synonyms: str = 'first',
        average_templates: bool = False,
    ) -> None:
        if synonyms not in SYNONYMS:
            raise ValueError(
                f'synonyms={synonyms!r} is not one of {", ".join(SYNONYMS)}'
            )
        self.templates = get_templates(templates)
        self.synonyms = synonyms
        self.average_templates = average_templates
        self._memory: dict[tuple, Tensor] = {}

    @property
    def prompts_per_class(self) -> int:
        """P of the embeddings."""
        return 1 if self.average_templates else len(self.templates)

    def __call__(self, encoder: nn.Module, vocabulary: Vocabulary) -> Tensor:
        """Text embeddings.

        Args:
            encoder (nn.Module): Text tower, token ids (n, N) to (n, C).
            vocabulary (Vocabulary): The class texts.

        Returns:
            Tensor: (T, P, C), normalised, on the tower's device.
        """
        if encoder.training and encoder.trainable and torch.is_grad_enabled():
            return self._encode(encoder, vocabulary)
        key = self._memory_key(encoder, vocabulary)
        if key not in self._memory:
            self._memory[key] = self._load_or_encode(encoder, vocabulary)
        return self._memory[key]

    def prepare(self, encoder: nn.Module, vocabulary: Vocabulary) -> None:
        """Fill the memory on all ranks; rank 0 alone encodes.

        To be called by all ranks together, before the first image.
        """
        rank, world_size = get_dist_info()
        if world_size == 1:
            self(encoder, vocabulary)
            return
        device = next(encoder.parameters()).device
        if rank == 0:
            text = self(encoder, vocabulary).contiguous()
        else:
            shape = (
                vocabulary.num_texts,
                self.prompts_per_class,
                encoder.embed_dims,
            )
            text = torch.empty(shape, device=device)
        broadcast(text)
        self._memory[self._memory_key(encoder, vocabulary)] = text

    def clear(self) -> None:
        """Forget the embeddings in memory."""
        self._memory.clear()

    def _class_texts(self, vocabulary: Vocabulary) -> list[tuple[str, ...]]:
        """Texts of each class that get a prompt of their own."""
        if self.synonyms == 'first':
            return [texts[:1] for texts in vocabulary.class_texts]
        if self.synonyms == 'whole':
            return [(', '.join(texts),) for texts in vocabulary.class_texts]
        return list(vocabulary.class_texts)

    def _encode(self, encoder: nn.Module, vocabulary: Vocabulary) -> Tensor:
        class_texts = self._class_texts(vocabulary)
        prompts = [
            template.format(text)
            for texts in class_texts
            for text in texts
            for template in self.templates
        ]
        rows = F.normalize(_encode_prompts(encoder, prompts), dim=-1)
        rows = rows.unflatten(0, (-1, len(self.templates)))  # (texts, P, C)
        counts = [len(texts) for texts in class_texts]
        if max(counts) > 1:
            rows = torch.stack(
                [
                    F.normalize(group.mean(dim=0), dim=-1)
                    if len(group) > 1
                    else group[0]
                    for group in rows.split(counts)
                ]
            )
        if self.average_templates and len(self.templates) > 1:
            rows = F.normalize(rows.mean(dim=1, keepdim=True), dim=-1)
        return rows

    @torch.no_grad()
    def _load_or_encode(
        self, encoder: nn.Module, vocabulary: Vocabulary
    ) -> Tensor:
        device = next(encoder.parameters()).device
        path = self._cache_path(encoder, vocabulary)
        if path.is_file():
            try:
                return load_file(path)['text'].to(device)
            except (SafetensorError, KeyError, OSError) as error:
                warnings.warn(
                    f'{path} is not a readable cache of text embeddings '
                    f'({error}); it is made again',
                    stacklevel=2,
                )
        text = self._encode(encoder, vocabulary)
        _save_atomically(text, path)
        return text

    def _memory_key(self, encoder: nn.Module, vocabulary: Vocabulary) -> tuple:
        # A parameter's version counts in-place writes (loading, optimizer
        # steps), its address tells it from another tensor put in its place.
        weights = tuple(
            (parameter.data_ptr(), parameter._version)
            for parameter in encoder.parameters()
        )
        return vocabulary.class_texts, weights

    def _cache_path(self, encoder: nn.Module, vocabulary: Vocabulary) -> Path:
        digest = hashlib.sha256(_weights_digest(encoder))
        recipe = [
            self._class_texts(vocabulary),
            self.templates,
            self.average_templates,
            'clip-bpe-49408',
        ]
        digest.update(json.dumps(recipe).encode())
        return cache_folder() / 'text' / f'{digest.hexdigest()}.safetensors'


def tokenize_prompts(prompts: list[str], context_length: int) -> Tensor:
    """Token ids of prompts, cut to the longest one.

    Args:
        prompts (list[str]): n texts.
        context_length (int): Positions of the text tower.

    Returns:
        Tensor: (n, N) int64 with N at most ``context_length``. A prompt that
        does not fit is cut with a warning; it keeps its end token.
    """
    # One position more than the tower has shows which prompts do not fit.
    tokens = tokenize(prompts, context_length + 1).long()
    too_long = tokens[:, -1] != 0
    if too_long.any():
        named = [p for p, cut in zip(prompts, too_long.tolist()) if cut]
        warnings.warn(
            f'{len(named)} prompts are longer than the {context_length} '
            f'tokens that the text encoder takes and are cut: {named[0]!r}'
            + (', ...' if len(named) > 1 else ''),
            stacklevel=2,
        )
    tokens = tokenize(prompts, context_length).long()
    return tokens[:, : int(tokens.argmax(dim=1).max()) + 1]


def _encode_prompts(encoder: nn.Module, prompts: list[str]) -> Tensor:
    """Embeddings (n, C) of prompts; equal prompts are encoded once."""
    unique = list(dict.fromkeys(prompts))
    tokens = tokenize_prompts(unique, encoder.context_length)
    lengths = tokens.argmax(dim=1) + 1
    device = next(encoder.parameters()).device
    if torch.is_grad_enabled():
        encoded = encoder(tokens.to(device))
    else:
        # Sorted by length, a batch is cut to its own longest prompt.
        order = lengths.argsort()
        batches = list(order.split(ENCODE_BATCH))
        if len(batches) > 1 and get_dist_info()[0] == 0:
            print(f'Encoding {len(unique)} prompts')
            batches = track_iter_progress(batches)
        encoded = torch.empty(len(unique), encoder.embed_dims, device=device)
        for batch in batches:
            ids = tokens[batch, : int(lengths[batch].max())]
            encoded[batch.to(device)] = encoder(ids.to(device)).float()
    index = {prompt: row for row, prompt in enumerate(unique)}
    if len(unique) == len(prompts):
        return encoded
    return encoded[[index[prompt] for prompt in prompts]]


def _weights_digest(encoder: nn.Module) -> bytes:
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f'{name}{tuple(tensor.shape)}{tensor.dtype}'.encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy())
    return digest.digest()


def _save_atomically(text: Tensor, path: Path) -> None:
    """Write the cache file whole or not at all; a cache is never needed."""
    temporary = path.with_suffix(f'.tmp{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({'text': text.cpu().contiguous()}, temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        warnings.warn(
            f'text embeddings are not kept in {path.parent}: {error}',
            stacklevel=2,
        )
