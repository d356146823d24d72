# SPDX-License-Identifier: Apache-2.0
"""Prepare the labels of PASCAL-Context with 59 classes."""

import sys

from ovseg_mm.datasets.preparation import PascalContext59, main

if __name__ == '__main__':
    sys.exit(main(PascalContext59()))
