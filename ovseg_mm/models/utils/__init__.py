# SPDX-License-Identifier: Apache-2.0
from .cost_features import CostFeatures
from .finetune import FINETUNE_MODES, freeze_except

__all__ = ['FINETUNE_MODES', 'CostFeatures', 'freeze_except']
