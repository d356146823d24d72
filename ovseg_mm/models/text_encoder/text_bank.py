# SPDX-License-Identifier: Apache-2.0
"""Text embeddings of a vocabulary, computed once and cached.

Letters: T class texts, P prompts per class (templates), C embedding width.
"""

import hashlib
import json
import warnings
from collections.abc import Collection
from typing import Any, cast

import torch
import torch.nn.functional as F
from mmengine.dist import broadcast, get_dist_info
from torch import Tensor, nn

from ovseg_mm.utils.errors import InputError
from ovseg_mm.vocabulary import Vocabulary, get_templates

from ..utils import is_exporting
from .embedding_file import EmbeddingFile
from .prompt_encoding import encode_prompts
from .text_cache import read_cache, write_cache
from .tower_revision import TowerRevision

SYNONYMS = ('published', 'first', 'mean', 'whole', 'each')
# Number of vocabularies whose embeddings are kept in memory.
KEPT_VOCABULARIES = 16


class TextBank:
    """Turns a vocabulary into text embeddings.

    If the tower is trained, every call encodes with gradients. Otherwise the
    embeddings are computed once for each pair of vocabulary and weights, and
    kept in memory and on disk (safetensors files in the user's cache folder,
    ``$OVSEG_CACHE``, of ``$OVSEG_CACHE_SIZE`` megabytes at most).

    Args:
        templates (str | list[str]): See
            :func:`ovseg_mm.vocabulary.get_templates`.
        synonyms (str): How a class with several texts is encoded.
            ``'first'``: only the first text; ``'mean'``: the normalised mean
            of all texts, within each template; ``'whole'``: the texts joined
            by ``', '`` in one prompt; ``'published'``: the first text for
            entries of a benchmark's list (``vocabulary.published``), as
            CAT-Seg was evaluated, and the mean for texts of a user;
            ``'each'``: the segmentor makes every text an entry of its own
            (see :meth:`Vocabulary.each_text`), which competes for the label.
        average_templates (bool): Whether the templates of a class are
            averaged and normalised again, so that P is 1.
        embeddings (dict, optional): Arguments of :class:`EmbeddingFile`,
            from which the embeddings come instead of from the tower. P is 1.
    """

    def __init__(
        self,
        templates: str | list[str] = 'single',
        synonyms: str = 'published',
        average_templates: bool = False,
        embeddings: dict | None = None,
    ) -> None:
        if synonyms not in SYNONYMS:
            raise ValueError(
                f'synonyms={synonyms!r} is not one of {", ".join(SYNONYMS)}'
            )
        self.templates = get_templates(templates)
        self.synonyms = synonyms
        self.average_templates = average_templates
        self.embeddings = EmbeddingFile(**embeddings) if embeddings else None
        self._revision: TowerRevision | None = None
        self._memory: dict[tuple, Tensor] = {}
        self._warned: set[str] = set()

    @property
    def prompts_per_class(self) -> int:
        """Number of prompts per class, P."""
        if self.embeddings:
            return 1
        return 1 if self.average_templates else len(self.templates)

    def __call__(
        self, encoder: nn.Module | None, vocabulary: Vocabulary
    ) -> Tensor:
        """Text embeddings.

        Args:
            encoder (nn.Module): Text tower, from token ids (n, N) to (n, C);
                not used if there are ``embeddings``.
            vocabulary (Vocabulary): The class texts.

        Returns:
            Tensor: (T, P, C), normalised, on the tower's device; those of
            ``embeddings`` as they are, on the CPU.

        Warns:
            UserWarning: If prompts are cut or synonyms have no effect; once
                per vocabulary, also if its embeddings are cached.
        """
        if self.embeddings:
            return self.embeddings(vocabulary)
        assert encoder is not None, 'prompts without embeddings need a tower'
        self._warn_once(self._dropped(vocabulary))
        text: Tensor | None
        if encoder.training and encoder.trainable and torch.is_grad_enabled():
            text, message = self._encode(encoder, vocabulary)
            self._warn_once(message)
            return text
        if is_exporting():
            return self._kept(vocabulary)
        self._forget_other_weights(encoder)
        text = self._memory.get(self._prompts_key(vocabulary))
        if text is None:
            text, message = self._load_or_encode(encoder, vocabulary)
            self._warn_once(message)
            self._remember(vocabulary, text)
        return text

    def prepare(
        self, encoder: nn.Module | None, vocabulary: Vocabulary
    ) -> None:
        """Get the embeddings on all ranks; only rank 0 encodes.

        All ranks must call this together, before the first image.
        """
        rank, world_size = get_dist_info()
        if world_size == 1 or self.embeddings:
            self(encoder, vocabulary)
            return
        assert encoder is not None, 'prompts without embeddings need a tower'
        device = next(encoder.parameters()).device
        if rank == 0:
            text = self(encoder, vocabulary).contiguous()
        else:
            # nn.Module types attributes as tensors or modules.
            shape = (
                vocabulary.num_texts,
                self.prompts_per_class,
                cast(int, encoder.embed_dims),
            )
            text = torch.empty(shape, device=device)
        broadcast(text)
        self.keep(encoder, vocabulary, text)

    def keep(
        self, encoder: nn.Module, vocabulary: Vocabulary, text: Tensor
    ) -> None:
        """Keep embeddings of a vocabulary in memory.

        Args:
            encoder (nn.Module): Tower to whose weights they belong.
            vocabulary (Vocabulary): The class texts.
            text (Tensor): Text embeddings, (T, P, C).
        """
        self._forget_other_weights(encoder)
        self._remember(vocabulary, text)

    def prompts_of(self, vocabulary: Vocabulary) -> list[str]:
        """Prompts of all classes, ordered by class, text, template."""
        return [
            template.format(text)
            for texts in self._class_texts(vocabulary)
            for text in texts
            for template in self.templates
        ]

    def clear(self) -> None:
        """Drop the embeddings in memory.

        Not needed after loading weights, optimizer steps or other in-place
        changes, which are noticed; needed after writes to
        ``parameter.data``.
        """
        self._memory.clear()
        self._revision = None

    def __getstate__(self) -> dict:
        """State of a copy: nothing in memory, since its tower is another."""
        kept: dict[str, Any] = dict(_memory={}, _warned=set(), _revision=None)
        return {**self.__dict__, **kept}

    def _forget_other_weights(self, encoder: nn.Module) -> None:
        if self._revision is None or not self._revision.is_of(encoder):
            self._memory.clear()
            self._revision = TowerRevision(encoder)

    def _kept(self, vocabulary: Vocabulary) -> Tensor:
        """Embeddings in memory; an export cannot compute them."""
        text = self._memory.get(self._prompts_key(vocabulary))
        if text is None:
            raise InputError(
                'an exported model holds the text embeddings of its words; '
                'compute them first: model.prepare_text()'
            )
        return text

    def _remember(self, vocabulary: Vocabulary, text: Tensor) -> None:
        self._memory[self._prompts_key(vocabulary)] = text
        while len(self._memory) > KEPT_VOCABULARIES:
            del self._memory[next(iter(self._memory))]

    def _warn_once(self, message: str) -> None:
        """Warn the caller of :meth:`__call__`, once per message, on rank 0."""
        if message and message not in self._warned:
            self._warned.add(message)
            if get_dist_info()[0] == 0:
                warnings.warn(message, UserWarning, stacklevel=3)

    def _first_alone(self, vocabulary: Vocabulary) -> Collection[int]:
        """Entries of which only the first text is used."""
        if self.synonyms == 'first':
            return range(vocabulary.num_texts)
        return vocabulary.published if self.synonyms == 'published' else ()

    def _dropped(self, vocabulary: Vocabulary) -> str:
        """Message that names the synonyms that have no effect."""
        entries = vocabulary.class_texts
        dropped = [
            entries[index]
            for index in self._first_alone(vocabulary)
            if len(entries[index]) > 1
        ]
        if not dropped:
            return ''
        return (
            f'{vocabulary.source}: only the first text is used of '
            f'{len(dropped)} classes with synonyms '
            f'({dropped[0][0]!r} of {", ".join(dropped[0])!r}), because of '
            f'prompts.synonyms={self.synonyms!r}'
            + (
                ' of lists that methods were evaluated with'
                if self.synonyms == 'published'
                else ''
            )
            + "; 'mean' has all count"
        )

    def _prompts_key(self, vocabulary: Vocabulary) -> tuple:
        """All but weights that the embeddings of a vocabulary depend on."""
        return (
            self._class_texts(vocabulary),
            tuple(self.templates),
            self.average_templates,
        )

    def _class_texts(
        self, vocabulary: Vocabulary
    ) -> tuple[tuple[str, ...], ...]:
        """Texts of each class that get a prompt of their own."""
        entries = vocabulary.class_texts
        if self.synonyms == 'whole':
            return tuple((', '.join(texts),) for texts in entries)
        first = frozenset(self._first_alone(vocabulary))
        return tuple(
            texts[:1] if index in first else texts
            for index, texts in enumerate(entries)
        )

    def _encode(
        self, encoder: nn.Module, vocabulary: Vocabulary
    ) -> tuple[Tensor, str]:
        """Embeddings (T, P, C), and a message about prompts or ''."""
        class_texts = self._class_texts(vocabulary)
        prompts = self.prompts_of(vocabulary)
        rows, message = encode_prompts(encoder, prompts)
        rows = F.normalize(rows, dim=-1)
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
        return rows, message

    @torch.no_grad()
    def _load_or_encode(
        self, encoder: nn.Module, vocabulary: Vocabulary
    ) -> tuple[Tensor, str]:
        """Embeddings and message of :meth:`_encode`, from disk if cached."""
        device = next(encoder.parameters()).device
        digest = self._digest(vocabulary)
        kept = read_cache(digest)
        if kept is not None:
            text, message = kept
            return text.to(device), message
        # Cached embeddings have the weights' precision, for runs of any kind.
        with torch.autocast(device.type, enabled=False):
            text, message = self._encode(encoder, vocabulary)
        write_cache(digest, text, message)
        return text, message

    def _digest(self, vocabulary: Vocabulary) -> str:
        """SHA-256 (hexadecimal) of everything that the embeddings depend on.

        The last entry changes when the content of the cache files does.
        """
        assert self._revision is not None  # of the tower that encodes
        digest = hashlib.sha256(self._revision.digest)
        recipe = [
            self._class_texts(vocabulary),
            self.templates,
            self.average_templates,
            'clip-bpe-49408, 2',
        ]
        digest.update(json.dumps(recipe).encode())
        return digest.hexdigest()
