# SPDX-License-Identifier: Apache-2.0
"""Prepare training labels of the seen classes of a zero-shot split."""

import sys

from ovseg_mm.datasets.preparation import ZeroShot, main

if __name__ == '__main__':
    sys.exit(main(ZeroShot()))
