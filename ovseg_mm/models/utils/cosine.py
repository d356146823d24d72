# SPDX-License-Identifier: Apache-2.0
import torch.nn.functional as F
from torch import Tensor

from ovseg_mm.inference import in_float32


@in_float32
def cosine_logits(
    embeddings: Tensor, text: Tensor, temperature: float | Tensor
) -> Tensor:
    """Scaled cosine similarities of image and text embeddings.

    Args:
        embeddings (Tensor): Image embeddings, (..., C), not normalised.
        text (Tensor): Text embeddings of T class texts, (T, C), normalised.
        temperature (float | Tensor): Number by which the similarities are
            multiplied.

    Returns:
        Tensor: Logits of the class texts, (..., T).
    """
    return temperature * F.normalize(embeddings, dim=-1) @ text.t()
