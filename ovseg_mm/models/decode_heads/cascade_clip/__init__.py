# SPDX-License-Identifier: Apache-2.0
from .cascade_clip_head import CascadeCLIPHead

__all__ = ['CascadeCLIPHead']
