# SPDX-License-Identifier: Apache-2.0
"""A process that test_benchmark_children.py measures: it holds some megabytes, prints like a library, and answers."""

from __future__ import annotations

import sys
from typing import Any

from scripts.benchmarks.children import Numbers, answer_task, peak_mb


def prepare(task: dict[str, Any]) -> Any:
    sys.stdout.write("{'loaded': 'by a library'}\n")

    def run() -> Numbers:
        held = bytearray(b"x") * (task["megabytes"] * 1_000_000)
        sys.stdout.write("{'done': 'by a library'}\n")
        if task["megabytes"] == 0:
            raise SystemExit(3)
        return {"size": len(held), "peak_mb": peak_mb()}

    return run


if __name__ == "__main__":
    answer_task(prepare)
