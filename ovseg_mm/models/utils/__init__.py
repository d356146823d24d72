# SPDX-License-Identifier: Apache-2.0
from .finetune import FINETUNE_MODES, freeze_except

__all__ = ['FINETUNE_MODES', 'freeze_except']
