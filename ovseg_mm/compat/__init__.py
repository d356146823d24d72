# SPDX-License-Identifier: Apache-2.0
"""Compatibility with configs of other projects and with MMEngine's hub.

The module ``hub`` is imported with ``ovseg_mm``. A config that needs another
module imports it with ``custom_imports``.
"""
