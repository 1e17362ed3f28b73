# SPDX-License-Identifier: Apache-2.0
"""My rows: read from files or the Hub, divided, tokenised, put into batches."""
