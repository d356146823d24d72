# SPDX-License-Identifier: Apache-2.0
UNKNOWN = -1
"""Label of pixels of some unseen class, whichever it is.

Data sets with ``unseen_labels='mark'`` give it.
"""
