# SPDX-License-Identifier: Apache-2.0
from .dense_bce_loss import DenseBCELoss
from .dense_dice_loss import DenseDiceLoss
from .dense_focal_loss import DenseFocalLoss
from .dense_losses import build_losses, dense_losses
from .mask_set_loss import MaskSetLoss

__all__ = [
    'DenseBCELoss',
    'DenseDiceLoss',
    'DenseFocalLoss',
    'MaskSetLoss',
    'build_losses',
    'dense_losses',
]
