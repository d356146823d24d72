# SPDX-License-Identifier: Apache-2.0
"""Compatibility with configs of other projects and with MMEngine's hub.

The module ``hub`` is imported with the package. Other modules are imported by
the ``custom_imports`` of the configs that need them.
"""
