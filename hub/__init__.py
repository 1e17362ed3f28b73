# SPDX-License-Identifier: Apache-2.0
"""Repositories for the Hub, one folder per kind."""
