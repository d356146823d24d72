# SPDX-License-Identifier: Apache-2.0
"""FLOPs and speed of models."""
