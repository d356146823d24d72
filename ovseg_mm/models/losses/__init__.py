# SPDX-License-Identifier: Apache-2.0
from .dense_bce_loss import DenseBCELoss
from .mask_set_loss import MaskSetLoss

__all__ = ['DenseBCELoss', 'MaskSetLoss']
