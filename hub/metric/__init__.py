# SPDX-License-Identifier: Apache-2.0
"""The metric's repository: an `evaluate` module around the Trainer's own metrics, and its Space."""
