# SPDX-License-Identifier: Apache-2.0
"""The measurements of `scripts.benchmark`, a module for each of its commands."""
