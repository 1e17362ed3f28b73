# SPDX-License-Identifier: Apache-2.0
"""The Space that runs a model in the visitor's browser: a static page, and its staging."""
