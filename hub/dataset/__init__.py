# SPDX-License-Identifier: Apache-2.0
"""The balanced data set: reading, cleaning, labelling, selecting and describing its rows."""
