# SPDX-License-Identifier: Apache-2.0
"""Base class of models that compare images with class texts."""

from mmengine.model import BaseModel
from torch import Tensor, nn

from ovseg_mm.vocabulary import Vocabulary

from .clip_towers import init_clip_towers
from .text_encoder import TextBank, TextSide


class TextModel(BaseModel):
    """Model with CLIP towers and a vocabulary.

    Attributes:
        clip (dict): Architecture and weights of the CLIP towers, with the
            keys that :class:`BaseOpenVocabSegmentor` lists.
        text_encoder (nn.Module, optional): Text tower. None if ``text_bank``
            reads its embeddings from a file.
        text_bank (TextBank): Prompts and cached text embeddings.
        vocabulary (Vocabulary): Class texts of validation and test.
    """

    clip: dict
    text_encoder: nn.Module | None
    text_bank: TextBank
    vocabulary: Vocabulary

    @property
    def text_side(self) -> TextSide:
        """Pair of text tower and text bank, which embed class texts."""
        return TextSide(self.text_encoder, self.text_bank)

    @property
    def text_sides(self) -> list[TextSide]:
        """All pairs of text tower and text bank; here, one pair."""
        return [self.text_side]

    @property
    def scored_vocabulary(self) -> Vocabulary:
        """Class texts that validation and test compare images with."""
        return self.vocabulary

    def init_weights(self) -> None:
        """Initialise all modules, then load CLIP's weights into the towers."""
        super().init_weights()
        self.init_towers()

    def init_towers(self) -> dict[str, Tensor]:
        """Load CLIP's weights, chosen by ``clip``, into the CLIP towers.

        Returns:
            dict[str, Tensor]: CLIP's weights by name; empty if ``clip`` does
            not choose weights.
        """
        return init_clip_towers(self, self.clip)

    def prepare_text(self) -> None:
        """Compute and cache the text embeddings for validation and test.

        They are the embeddings of :attr:`scored_vocabulary`. All ranks must
        call this method.
        """
        device = self.data_preprocessor.device
        for side in self.text_sides:
            side.prepare(self.scored_vocabulary, device)

    def text_embeddings(self, vocabulary: Vocabulary) -> Tensor:
        """Compute the text embeddings of a vocabulary, or read the cache.

        Args:
            vocabulary (Vocabulary): The T class texts.

        Returns:
            Tensor: Text embeddings of width C with P prompts per class,
            (T, P, C), on the device of the data preprocessor.
        """
        return self.text_side.embeddings(
            vocabulary, self.data_preprocessor.device
        )

    def train(self, mode: bool = True) -> 'TextModel':
        """Set training or evaluation mode.

        Cached text embeddings are dropped when the model enters or leaves
        training, since training may change them.

        Args:
            mode (bool): True for training, False for evaluation.

        Returns:
            TextModel: This model.
        """
        if mode or self.training:
            for side in self.text_sides:
                side.clear()
        return super().train(mode)
