# SPDX-License-Identifier: Apache-2.0
"""Pair of a text tower and a text bank, which computes text embeddings.

Letters: T class texts, P prompts per class, C width of the embeddings.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ovseg_mm.vocabulary import Vocabulary

from .text_bank import TextBank


class TextSide(NamedTuple):
    """Text tower and text bank, which together embed the class texts.

    Models do not store a ``TextSide``, because sharding and ``deepcopy``
    replace the tower of a model. Each use makes a ``TextSide`` from the
    tower and the bank that the model has at this time.

    Attributes:
        encoder (nn.Module, optional): Text tower. None if the bank reads its
            embeddings from a file.
        bank (TextBank): Templates, option ``synonyms``, and cached
            embeddings.
    """

    encoder: nn.Module | None
    bank: TextBank

    def embeddings(
        self, vocabulary: Vocabulary, device: torch.device
    ) -> Tensor:
        """Get the text embeddings of a vocabulary.

        Args:
            vocabulary (Vocabulary): The T class texts.
            device (torch.device): Device of the result.

        Returns:
            Tensor: Text embeddings of width C with P prompts per class,
            (T, P, C). They are normalised unless they come from a file.
        """
        return self.bank(self.encoder, vocabulary).to(device)

    def prepare(self, vocabulary: Vocabulary, device: torch.device) -> None:
        """Compute the text embeddings on rank 0 and send them to all ranks.

        Args:
            vocabulary (Vocabulary): The class texts.
            device (torch.device): Device on which the embeddings are
                computed. The text tower is moved to this device, because a
                tower that is not sharded may still be on the CPU.
        """
        if self.encoder is not None:
            self.encoder.to(device)
        self.bank.prepare(self.encoder, vocabulary)

    def fill(self, vocabulary: Vocabulary, text: Tensor) -> None:
        """Store embeddings of a vocabulary in memory.

        They are used until :meth:`clear` is called or the weights of the tower
        change. If the text bank reads its embeddings from a file, this method
        does nothing.

        Args:
            vocabulary (Vocabulary): The T class texts.
            text (Tensor): Text embeddings of width C with P prompts per class,
                (T, P, C).
        """
        if self.encoder is not None:
            self.bank.keep(self.encoder, vocabulary, text)

    def clear(self) -> None:
        """Delete the embeddings in memory."""
        self.bank.clear()
