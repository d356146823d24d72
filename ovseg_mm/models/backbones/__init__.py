# SPDX-License-Identifier: Apache-2.0
from .clip_vit import CLIPFeatures, CLIPViT
from .guided_clip import GuidedCLIP

__all__ = ['CLIPFeatures', 'CLIPViT', 'GuidedCLIP']
