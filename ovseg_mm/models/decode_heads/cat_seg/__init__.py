# SPDX-License-Identifier: Apache-2.0
from .cat_seg_cost_head import CATSegCostHead

__all__ = ['CATSegCostHead']
