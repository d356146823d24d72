# SPDX-License-Identifier: Apache-2.0
from .cat_seg import CATSegCostHead

__all__ = ['CATSegCostHead']
