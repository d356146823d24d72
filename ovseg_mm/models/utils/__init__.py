# SPDX-License-Identifier: Apache-2.0
from .chunks import apply_to_chunks, chunk_size
from .cosine import cosine_logits
from .exporting import (
    is_exporting,
    is_in_onnx_export,
    runs_as_written,
    stable_sort,
)
from .finetune import FINETUNE_MODES, freeze_except
from .image_errors import ImageError, name_image_files
from .linear_layers import apply_layers, apply_linear, linear
from .matching import HungarianMatcher, dice_losses, mask_targets, pixel_costs
from .points import RandomFunction, sample_points, uncertain_points
from .recompute import recomputed
from .regions import (
    expand_boxes,
    mask_boxes,
    masked_crop,
    patches_with_mask,
    region_crops,
    region_masks,
)
from .unknown import fill_unknown

__all__ = [
    'apply_layers',
    'apply_linear',
    'apply_to_chunks',
    'chunk_size',
    'RandomFunction',
    'FINETUNE_MODES',
    'HungarianMatcher',
    'ImageError',
    'cosine_logits',
    'dice_losses',
    'expand_boxes',
    'fill_unknown',
    'freeze_except',
    'is_exporting',
    'is_in_onnx_export',
    'linear',
    'mask_boxes',
    'mask_targets',
    'masked_crop',
    'name_image_files',
    'patches_with_mask',
    'pixel_costs',
    'recomputed',
    'region_crops',
    'region_masks',
    'runs_as_written',
    'sample_points',
    'stable_sort',
    'uncertain_points',
]
