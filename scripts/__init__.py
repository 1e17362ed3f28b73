# SPDX-License-Identifier: Apache-2.0
"""The commands: `python -m scripts.NAME --help`."""
