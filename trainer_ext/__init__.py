# SPDX-License-Identifier: Apache-2.0
"""Training and evaluation of multi-label emotion classifiers, ours or any of transformers."""
