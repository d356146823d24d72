# SPDX-License-Identifier: Apache-2.0
"""Segmentor without its text encoder, as one module to be exported."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ovseg_mm.models import CLIPViT, OpenVocabSegmentor
from ovseg_mm.utils.resize import resize


class ImageSide(nn.Module):
    """Compute scores of images, or of windows, from text embeddings.

    The module contains the image encoder and the head of a model, but no
    text encoder. It computes the same scores as :class:`OpenVocabSegmentor`
    for a single window or image.

    Args:
        model (OpenVocabSegmentor): Model in evaluation mode. Its modules are
            shared, not copied.
        text (Tensor, optional): Text embeddings to store in the module,
            (T, P, C), for T class texts with P prompts each, and C channels.
            None: text embeddings are an argument of :meth:`forward`.
    """

    # The exporter names values after operators, so a buffer named mean fails.
    pixel_mean: Tensor  # Mean of each channel, (3, 1, 1)
    pixel_std: Tensor  # Standard deviation of each channel, (3, 1, 1)

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
        """Whether an exported graph of the model takes images of any size."""
        return (
            isinstance(self.backbone, CLIPViT)
            and self.backbone.input_size is None
            and self.decode_head.exports_any_size
        )

    def forward(self, images: Tensor, text: Tensor | None = None) -> Tensor:
        """Compute scores at each pixel.

        Args:
            images (Tensor): B RGB images in [0, 255], (B, 3, H, W) float32.
            text (Tensor, optional): Embeddings of T class texts with P
                prompts each, and C channels, (T, P, C) float32. None: the
                embeddings stored in the module are used.

        Returns:
            Tensor: Scores of the class texts, (B, T, H, W) float32.
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
        """Convert logits (B, T, h, w) to scores (B, T, H, W).

        ``size`` is (H, W), the size of the input images.
        """
        wanted = self.score_size
        if wanted == 'input' or (wanted is None and self.is_window):
            wanted = size
        if wanted is not None:
            logits = _resized(logits, tuple(wanted))
        return _resized(self.decode_head.activate(logits), size)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of feature maps (B, T, h, w).

    :func:`resize` returns maps of the wanted size unchanged. For symbolic
    sizes, this function interpolates always, because a graph cannot compare
    sizes that are known only at run time.
    """
    if all(isinstance(n, int) for n in (*x.shape[2:], *size)):
        return resize(x, size)
    return F.interpolate(x, size, mode='bilinear', align_corners=False)
