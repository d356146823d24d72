# SPDX-License-Identifier: Apache-2.0
"""Text embeddings of a vocabulary, computed once and cached.

Letters: T class texts, P prompts per class (one for each template), C width
of the embeddings.
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
    """Computes the text embeddings of a vocabulary.

    If the text tower is trained, every call encodes the texts with gradients.
    Otherwise, embeddings are computed once and kept in memory and on disk:
    safetensors files of at most ``$OVSEG_CACHE_SIZE`` megabytes in the folder
    ``$OVSEG_CACHE`` (default: the user's cache folder).

    Args:
        templates (str | list[str]): Templates of the prompts, see
            :func:`ovseg_mm.vocabulary.get_templates`.
        synonyms (str): How a class with several texts is encoded.

            - ``'first'``: only the first text.
            - ``'mean'``: normalised mean of all texts, for each template.
            - ``'whole'``: all texts in one prompt, joined by ``', '``.
            - ``'published'``: like ``'first'`` for classes of a benchmark, as
              in CAT-Seg's evaluation; like ``'mean'`` for classes of a user.
            - ``'each'``: all texts compete separately for the label; see
              :meth:`Vocabulary.each_text`.
        average_templates (bool): Whether to average the embeddings of all
            templates and normalise the mean. The number P of embeddings per
            class is then 1.
        embeddings (dict, optional): Arguments of :class:`EmbeddingFile`.
            Embeddings are then read from this file, with P = 1, and no text
            tower is needed. None: the text tower computes the embeddings.
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
                f'synonyms={synonyms!r}; expected one of {", ".join(SYNONYMS)}'
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
        """Number P of embeddings per class.

        P is the number of templates. It is 1 if templates are averaged, or if
        embeddings are read from a file.
        """
        if self.embeddings:
            return 1
        return 1 if self.average_templates else len(self.templates)

    def __call__(
        self, encoder: nn.Module | None, vocabulary: Vocabulary
    ) -> Tensor:
        """Get the text embeddings of a vocabulary.

        Args:
            encoder (nn.Module, optional): Text tower, which converts token ids
                of n prompts, (n, number of tokens), to embeddings, (n, C). Not
                used if the option ``embeddings`` is set.
            vocabulary (Vocabulary): The T class texts.

        Returns:
            Tensor: Text embeddings of width C with P prompts per class,
            (T, P, C). Embeddings of a tower are normalised and on the device
            of the tower. Embeddings from a file are not normalised and are on
            the CPU.

        Warns:
            UserWarning: If a prompt is too long and is truncated, or if
                synonyms are ignored. Each warning is shown once.
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
        """Compute the embeddings on rank 0 and send them to all ranks.

        All ranks must call this method together, before the first image.

        Args:
            encoder (nn.Module, optional): Text tower.
            vocabulary (Vocabulary): The class texts.
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
            # Attributes of nn.Module have the type "Tensor or Module".
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
        """Store embeddings of a vocabulary in memory.

        Args:
            encoder (nn.Module): Text tower that computed the embeddings. The
                embeddings are kept until the weights of this tower change.
            vocabulary (Vocabulary): The T class texts.
            text (Tensor): Text embeddings of width C with P prompts per class,
                (T, P, C).
        """
        self._forget_other_weights(encoder)
        self._remember(vocabulary, text)

    def prompts_of(self, vocabulary: Vocabulary) -> list[str]:
        """List the prompts of all classes.

        Prompts are ordered by class, then by the texts of the class, then by
        template.
        """
        return [
            template.format(text)
            for texts in self._class_texts(vocabulary)
            for text in texts
            for template in self.templates
        ]

    def clear(self) -> None:
        """Delete the embeddings in memory.

        A call is needed only after code has written to ``parameter.data`` of
        the tower. Other changes of its weights, such as optimizer steps, are
        detected.
        """
        self._memory.clear()
        self._revision = None

    def __getstate__(self) -> dict:
        """Attributes for copies and pickles, without cached embeddings."""
        kept: dict[str, Any] = dict(_memory={}, _warned=set(), _revision=None)
        return {**self.__dict__, **kept}

    def _forget_other_weights(self, encoder: nn.Module) -> None:
        if self._revision is None or not self._revision.is_of(encoder):
            self._memory.clear()
            self._revision = TowerRevision(encoder)

    def _kept(self, vocabulary: Vocabulary) -> Tensor:
        """Return the embeddings that are stored in memory.

        An export cannot compute them. If they are not in memory, an
        :class:`InputError` is raised.
        """
        text = self._memory.get(self._prompts_key(vocabulary))
        if text is None:
            raise InputError(
                'an exported model contains the text embeddings of its '
                'classes, which are not computed yet; call '
                'model.prepare_text() before the export'
            )
        return text

    def _remember(self, vocabulary: Vocabulary, text: Tensor) -> None:
        self._memory[self._prompts_key(vocabulary)] = text
        while len(self._memory) > KEPT_VOCABULARIES:
            del self._memory[next(iter(self._memory))]

    def _warn_once(self, message: str) -> None:
        """Show a warning once per message, on rank 0."""
        if message and message not in self._warned:
            self._warned.add(message)
            if get_dist_info()[0] == 0:
                warnings.warn(message, UserWarning, stacklevel=3)

    def _first_alone(self, vocabulary: Vocabulary) -> Collection[int]:
        """Indices of the classes for which only the first text is encoded."""
        if self.synonyms == 'first':
            return range(vocabulary.num_texts)
        return vocabulary.published if self.synonyms == 'published' else ()

    def _dropped(self, vocabulary: Vocabulary) -> str:
        """Warning about synonyms that are ignored; ``''`` if all are used."""
        entries = vocabulary.class_texts
        dropped = [
            entries[index]
            for index in self._first_alone(vocabulary)
            if len(entries[index]) > 1
        ]
        if not dropped:
            return ''
        return (
            f'{vocabulary.source}: of {len(dropped)} classes with synonyms, '
            'only the first text is used '
            f'({dropped[0][0]!r} of {", ".join(dropped[0])!r}), because of '
            f'prompts.synonyms={self.synonyms!r}'
            + (
                ', as in the published evaluations'
                if self.synonyms == 'published'
                else ''
            )
            + "; set prompts.synonyms='mean' to use all texts"
        )

    def _prompts_key(self, vocabulary: Vocabulary) -> tuple:
        """Key under which the embeddings of a vocabulary are in memory."""
        return (
            self._class_texts(vocabulary),
            tuple(self.templates),
            self.average_templates,
        )

    def _class_texts(
        self, vocabulary: Vocabulary
    ) -> tuple[tuple[str, ...], ...]:
        """Choose the texts to encode for each class, see ``synonyms``."""
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
        """Compute embeddings, (T, P, C), and a warning for the user.

        The warning is about prompts that were truncated. It is ``''`` if no
        prompt was truncated.
        """
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
        """Read the results of :meth:`_encode` from disk, or compute them."""
        device = next(encoder.parameters()).device
        digest = self._digest(vocabulary)
        kept = read_cache(digest)
        if kept is not None:
            text, message = kept
            return text.to(device), message
        # Without autocast, since runs of any precision share the cache.
        with torch.autocast(device.type, enabled=False):
            text, message = self._encode(encoder, vocabulary)
        write_cache(digest, text, message)
        return text, message

    def _digest(self, vocabulary: Vocabulary) -> str:
        """Compute the name of the cache file for a vocabulary.

        The name is the SHA-256 of weights, texts, options and a version
        number. If a change of the code changes the embeddings, increase the
        version number, so that old files are not read.
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
