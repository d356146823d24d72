# SPDX-License-Identifier: Apache-2.0
from .clip_vit import CLIPFeatures, CLIPViT

__all__ = ['CLIPFeatures', 'CLIPViT']
