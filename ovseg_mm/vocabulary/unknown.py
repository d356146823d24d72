# SPDX-License-Identifier: Apache-2.0
UNKNOWN = -1
"""Label of pixels of unseen classes in data sets with
``unseen_labels='mark'``. For training, all unseen classes have this label.
"""
