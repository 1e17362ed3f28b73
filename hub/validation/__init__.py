# SPDX-License-Identifier: Apache-2.0
"""What is staged, looked at as the Hub and a stranger would: imports, secrets, pickles, the card and its snippets."""
