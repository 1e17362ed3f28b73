# SPDX-License-Identifier: Apache-2.0
"""Variants of a recipe beside each other: their runs, the table, the figures."""
