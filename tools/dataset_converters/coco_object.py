# SPDX-License-Identifier: Apache-2.0
"""Prepare the labels of COCO-Object."""

import sys

from ovseg_mm.datasets.preparation import COCOObject, main

if __name__ == '__main__':
    sys.exit(main(COCOObject()))
