# SPDX-License-Identifier: Apache-2.0
"""Where the encoders of a stack come from, and what its head starts from."""
