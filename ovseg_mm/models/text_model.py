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
        clip (dict): See :class:`BaseOpenVocabSegmentor`.
        text_encoder (nn.Module, optional): Text tower.
        text_bank (TextBank): Its prompts and embeddings.
        vocabulary (Vocabulary): Class texts of validation and test.
    """

    clip: dict
    text_encoder: nn.Module | None
    text_bank: TextBank
    vocabulary: Vocabulary

    @property
    def text_side(self) -> TextSide:
        """Text tower and bank that class texts are embedded with."""
        return TextSide(self.text_encoder, self.text_bank)

    @property
    def text_sides(self) -> list[TextSide]:
        """All text sides; a model may have a second one for regions."""
        return [self.text_side]

    @property
    def scored_vocabulary(self) -> Vocabulary:
        """Class texts that are scored in tests."""
        return self.vocabulary

    def init_weights(self) -> None:
        """Initialise; CLIP towers get the weights that ``clip`` names."""
        super().init_weights()
        self.init_towers()

    def init_towers(self) -> dict[str, Tensor]:
        """Fill the CLIP towers, see :func:`init_clip_towers`.

        Returns:
            dict[str, Tensor]: CLIP's weights; empty if ``clip`` names none.
        """
        return init_clip_towers(self, self.clip)

    def prepare_text(self) -> None:
        """Compute the text embeddings of the vocabulary, on all ranks."""
        device = self.data_preprocessor.device
        for side in self.text_sides:
            side.prepare(self.scored_vocabulary, device)

    def text_embeddings(self, vocabulary: Vocabulary) -> Tensor:
        """Text embeddings of a vocabulary, on the device of the images.

        Args:
            vocabulary (Vocabulary): The class texts.

        Returns:
            Tensor: (T, P, C).
        """
        return self.text_side.embeddings(
            vocabulary, self.data_preprocessor.device
        )

    def train(self, mode: bool = True) -> 'TextModel':
        """Set train or eval mode and drop cached text embeddings.

        Args:
            mode (bool): True for training.

        Returns:
            TextModel: The model.
        """
        if mode or self.training:
            for side in self.text_sides:
                side.clear()
        return super().train(mode)
