# SPDX-License-Identifier: Apache-2.0
"""Memory that is kept for the next tensors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from model_samples import run_isolated

from trainer_ext.memory import freed_memory_kept

# In a process whose heap no other test has used.
_COUNT_FAULTS = """
import resource
import numpy as np
from trainer_ext.memory import freed_memory_kept

def num_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(80 << 20, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(num_faults(), num_faults())
with freed_memory_kept():
    print(num_faults(), num_faults())
num_faults()
print(num_faults(), num_faults())
"""
# Faults of 80 MB: with pages of 4 KB 20,480, with those of 2 MB 40.
_FEW = 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have other allocators")
def test_memory_is_kept_for_a_while_only(tmp_path: Path) -> None:
    lines = run_isolated(_COUNT_FAULTS, cwd=tmp_path).stdout.splitlines()
    before, kept, afterwards = ([int(count) for count in line.split()] for line in lines)
    assert min(before) >= _FEW
    assert kept[1] < _FEW
    assert min(afterwards) >= _FEW


def test_it_is_given_back_after_an_error_too() -> None:
    with pytest.raises(RuntimeError), freed_memory_kept():
        raise RuntimeError
    with freed_memory_kept("cuda"):
        pass
