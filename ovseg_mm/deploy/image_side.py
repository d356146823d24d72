# SPDX-License-Identifier: Apache-2.0
"""The image side of a segmentor as one module.

Letters: B images, T class texts, P prompts per class, C embedding width, H, W
pixels of an image, h, w positions of the logits.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ovseg_mm.models import CLIPViT, OpenVocabSegmentor
from ovseg_mm.utils.resize import resize


class ImageSide(nn.Module):
    """Scores of images, or of windows of an image.

    It holds no text tower, and has the arithmetic of
    :class:`OpenVocabSegmentor` up to the scores of one view.

    Args:
        model (OpenVocabSegmentor): Model in evaluation mode; its modules are
            shared.
        text (Tensor, optional): Text embeddings, (T, P, C), that the module
            keeps. None: they are an argument of :meth:`forward`.
    """

    # PyTorch names values after operators: a buffer must not be called mean.
    pixel_mean: Tensor  # (3, 1, 1), of R, G and B
    pixel_std: Tensor  # (3, 1, 1)

    def __init__(
        self, model: OpenVocabSegmentor, text: Tensor | None = None
    ) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else nn.Identity()
        self.decode_head = model.decode_head
        self.register_buffer('own_text', text)
        cfg = model.test_cfg
        self.score_size = cfg.get('score_size')
        self.is_window = cfg['mode'] == 'slide'
        divisor = cfg.get('window_divisor', 1) if self.is_window else 1
        if divisor == 'patch':
            divisor = self.backbone.patch_size
        self.divisor = divisor
        preprocessor: Any = model.data_preprocessor
        # Images are read as BGR; most models turn them into RGB first.
        options = model.cfg.model.get('data_preprocessor') or {}
        self.takes_rgb = bool(options.get('bgr_to_rgb', False))
        self.normalises = bool(preprocessor._enable_normalize)
        if self.normalises:
            self.register_buffer('pixel_mean', preprocessor.mean.clone())
            self.register_buffer('pixel_std', preprocessor.std.clone())
        self.eval().requires_grad_(False)

    @property
    def takes_any_size(self) -> bool:
        """Whether a graph can take images of any height and width."""
        return (
            isinstance(self.backbone, CLIPViT)
            and self.backbone.input_size is None
            and self.decode_head.exports_any_size
        )

    def forward(self, images: Tensor, text: Tensor | None = None) -> Tensor:
        """Scores at the size of the images.

        Args:
            images (Tensor): RGB in [0, 255], (B, 3, H, W) float32.
            text (Tensor, optional): Text embeddings, (T, P, C) float32; None
                for a module that keeps its own.

        Returns:
            Tensor: (B, T, H, W) float32.
        """
        x = images if self.takes_rgb else images.flip(1)
        if self.normalises:
            x = (x - self.pixel_mean) / self.pixel_std
        height, width = images.shape[2:]
        bottom, right = -height % self.divisor, -width % self.divisor
        top, left = bottom // 2, right // 2
        if self.divisor > 1:
            x = F.pad(x, (left, right - left, top, bottom - top))
        feats = self.neck(self.backbone(x))
        logits = self.decode_head(
            feats, self.own_text if text is None else text
        )
        logits = logits.float()
        if self.divisor > 1:
            logits = _resized(logits, (height + bottom, width + right))
            logits = logits[:, :, top : top + height, left : left + width]
        return self._scores(logits, (height, width))

    def _scores(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Scores (B, T, *size) of logits (B, T, h, w), as of a view."""
        wanted = self.score_size
        if wanted == 'input' or (wanted is None and self.is_window):
            wanted = size
        if wanted is not None:
            logits = _resized(logits, tuple(wanted))
        return _resized(self.decode_head.activate(logits), size)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize; a graph of any size has no branch for equal sizes."""
    if all(isinstance(n, int) for n in (*x.shape[2:], *size)):
        return resize(x, size)
    return F.interpolate(x, size, mode='bilinear', align_corners=False)
