# SPDX-License-Identifier: Apache-2.0
"""A small world of drawn scenes, for demonstrations and tests."""
