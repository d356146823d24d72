# SPDX-License-Identifier: Apache-2.0
"""Measurement of the FLOPs, speed and memory of models."""
