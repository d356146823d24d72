# SPDX-License-Identifier: Apache-2.0
from ..engine.conftest import tiny_data, trained_file

__all__ = ['tiny_data', 'trained_file']
