# SPDX-License-Identifier: Apache-2.0
from .dense_bce_loss import DenseBCELoss

__all__ = ['DenseBCELoss']
