# SPDX-License-Identifier: Apache-2.0
"""How good is a model, and what does it say: metrics, thresholds, calibration, predictions."""
