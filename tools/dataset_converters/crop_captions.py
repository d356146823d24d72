# SPDX-License-Identifier: Apache-2.0
"""Cut masked crops with captions from a data set, to fine-tune CLIP."""

import sys

from ovseg_mm.datasets.preparation import CropCaptions, main

if __name__ == '__main__':
    sys.exit(main(CropCaptions()))
