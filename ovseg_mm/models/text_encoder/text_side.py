# SPDX-License-Identifier: Apache-2.0
"""A pair of text tower and text bank.

Letters: T class texts, P prompts per class, C embedding width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ovseg_mm.vocabulary import Vocabulary

from .text_bank import TextBank


class TextSide(NamedTuple):
    """Everything that turns a vocabulary into text embeddings.

    It is made from two attributes of a model each time it is needed, since
    sharding and ``deepcopy`` replace the tower of a model.

    Attributes:
        encoder (nn.Module, optional): Text tower. None if the bank reads its
            embeddings from a file.
        bank (TextBank): Prompts, synonyms and kept embeddings.
    """

    encoder: nn.Module | None
    bank: TextBank

    def embeddings(
        self, vocabulary: Vocabulary, device: torch.device
    ) -> Tensor:
        """Text embeddings of a vocabulary.

        Args:
            vocabulary (Vocabulary): The class texts.
            device (torch.device): Device of the result.

        Returns:
            Tensor: (T, P, C), normalised unless they come from a file.
        """
        return self.bank(self.encoder, vocabulary).to(device)

    def prepare(self, vocabulary: Vocabulary, device: torch.device) -> None:
        """Get the embeddings on all ranks; only rank 0 encodes.

        Args:
            vocabulary (Vocabulary): The class texts.
            device (torch.device): Device to which the tower moves; sharded
                training leaves parts that are not sharded on the CPU.
        """
        if self.encoder is not None:
            self.encoder.to(device)
        self.bank.prepare(self.encoder, vocabulary)

    def fill(self, vocabulary: Vocabulary, text: Tensor) -> None:
        """Use given embeddings for a vocabulary until :meth:`clear`.

        Args:
            vocabulary (Vocabulary): The class texts.
            text (Tensor): Text embeddings, (T, P, C).
        """
        if self.encoder is not None:
            self.bank.keep(self.encoder, vocabulary, text)

    def clear(self) -> None:
        """Delete the embeddings in memory."""
        self.bank.clear()
