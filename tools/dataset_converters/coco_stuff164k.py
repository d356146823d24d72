# SPDX-License-Identifier: Apache-2.0
"""Prepare the labels of COCO-Stuff 164k."""

import sys

from ovseg_mm.datasets.preparation import COCOStuff164k, main

if __name__ == '__main__':
    sys.exit(main(COCOStuff164k()))
