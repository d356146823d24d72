# SPDX-License-Identifier: Apache-2.0
import torch.nn.functional as F
from torch import Tensor

from ovseg_mm.inference import in_float32


@in_float32
def cosine_logits(
    embeddings: Tensor, text: Tensor, temperature: float | Tensor
) -> Tensor:
    """Scaled cosine similarities.

    Args:
        embeddings (Tensor): Image embeddings, (..., C), of any length.
        text (Tensor): Text embeddings, (T, C), of length 1.
        temperature (float | Tensor): Factor of the similarities.

    Returns:
        Tensor: (..., T).
    """
    return temperature * F.normalize(embeddings, dim=-1) @ text.t()
