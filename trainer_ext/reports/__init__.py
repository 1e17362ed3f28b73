# SPDX-License-Identifier: Apache-2.0
"""Reports and figures of an evaluation: label correlations, F1 per label, reliability."""
