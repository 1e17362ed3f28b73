# SPDX-License-Identifier: Apache-2.0
"""What is drawn and written at every evaluation: label correlations, F1 per label, reliability."""
