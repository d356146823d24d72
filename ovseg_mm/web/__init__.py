# SPDX-License-Identifier: Apache-2.0
"""Web page on which images are segmented with given class texts."""

from .page import build_page, launch_options, serve

__all__ = ['build_page', 'launch_options', 'serve']
