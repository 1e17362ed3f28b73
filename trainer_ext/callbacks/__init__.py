# SPDX-License-Identifier: Apache-2.0
"""What is computed, drawn and logged at every evaluation."""
