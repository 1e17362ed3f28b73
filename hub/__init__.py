# SPDX-License-Identifier: Apache-2.0
"""What goes to the Hub, one folder per kind of repository."""
