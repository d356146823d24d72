# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

# The runner's modules find each other as in `python tests/parity`.
sys.path.insert(0, str(Path(__file__).parent))
