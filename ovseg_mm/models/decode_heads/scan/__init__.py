# SPDX-License-Identifier: Apache-2.0
from .scan_head import SCANHead
from .semantic_integration import SemanticIntegration

__all__ = ['SCANHead', 'SemanticIntegration']
