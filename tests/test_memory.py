# SPDX-License-Identifier: Apache-2.0
"""Memory that is kept for the next tensors."""

from __future__ import annotations

import sys

import pytest
import torch

from trainer_ext.memory import freed_memory_kept

# Faults of 80 MB: with pages of 4 KB 20,480, with those of 2 MB 40.
_FEW = 20


def num_faults(num_bytes: int) -> int:
    """How many pages the system had to fill for a tensor of some bytes, which is freed again."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(num_bytes, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have other allocators")
def test_memory_is_kept_for_a_while_only() -> None:
    size = 80 << 20
    assert num_faults(size) >= _FEW
    with freed_memory_kept():
        num_faults(size)
        assert num_faults(size) < _FEW
    num_faults(size)
    assert num_faults(size) >= _FEW


def test_it_is_given_back_after_an_error_too() -> None:
    with pytest.raises(RuntimeError), freed_memory_kept():
        raise RuntimeError
    with freed_memory_kept("cuda"):
        pass
