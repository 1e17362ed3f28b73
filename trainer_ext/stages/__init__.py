# SPDX-License-Identifier: Apache-2.0
"""Staged training: each encoder alone, features cached on disk, then what is learnt over the stack."""
