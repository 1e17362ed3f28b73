# SPDX-License-Identifier: Apache-2.0
"""Checks of a staged repository as the Hub and a stranger see it: files, secrets, the card, and whether it loads."""
