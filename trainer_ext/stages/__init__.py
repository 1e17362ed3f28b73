# SPDX-License-Identifier: Apache-2.0
"""Training in stages: each encoder alone, word states cached on disk, the head on the cache; teachers."""
