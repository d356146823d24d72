# SPDX-License-Identifier: Apache-2.0
"""Support of other projects' configs and of MMEngine's names.

``hub`` is imported with the package; a config names any other module that it
needs in ``custom_imports``.
"""
