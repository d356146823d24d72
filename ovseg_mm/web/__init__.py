# SPDX-License-Identifier: Apache-2.0
"""The web page: any image, any words, in a browser."""

from .page import build_page, launch_options, serve

__all__ = ['build_page', 'launch_options', 'serve']
