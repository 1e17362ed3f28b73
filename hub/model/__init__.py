# SPDX-License-Identifier: Apache-2.0
"""Model repositories: their folder and their card."""
