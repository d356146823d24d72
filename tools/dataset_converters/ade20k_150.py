# SPDX-License-Identifier: Apache-2.0
"""Check the files of ADE20K with 150 classes."""

import sys

from ovseg_mm.datasets.preparation import ADE20K150, main

if __name__ == '__main__':
    sys.exit(main(ADE20K150()))
