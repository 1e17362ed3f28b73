# SPDX-License-Identifier: Apache-2.0
"""The hybrid loss: a base term, a label-correlation term and a contrastive term."""
