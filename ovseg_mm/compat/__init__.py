# SPDX-License-Identifier: Apache-2.0
"""Configs of other projects, read under their own names.

Nothing here is imported with the package: a config names the module that it
needs in ``custom_imports``.
"""
