# SPDX-License-Identifier: Apache-2.0
"""Check the files of PASCAL VOC 2012."""

import sys

from ovseg_mm.datasets.preparation import PascalVOC, main

if __name__ == '__main__':
    sys.exit(main(PascalVOC()))
