# SPDX-License-Identifier: Apache-2.0
"""Prepare the labels of ADE20K with 847 classes."""

import sys

from ovseg_mm.datasets.preparation import ADE20K847, main

if __name__ == '__main__':
    sys.exit(main(ADE20K847()))
