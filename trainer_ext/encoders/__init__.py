# SPDX-License-Identifier: Apache-2.0
"""Where the encoders of a stack come from, and where its head starts."""
