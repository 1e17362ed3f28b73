# SPDX-License-Identifier: Apache-2.0
"""The Trainer, its arguments, and the parts of a model that it trains."""
