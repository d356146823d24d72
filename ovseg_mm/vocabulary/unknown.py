# SPDX-License-Identifier: Apache-2.0
UNKNOWN = -1
"""Label of pixels whose class is unseen, in data sets with
``unseen_labels='mark'``: the training knows only that it is some unseen class.
"""
