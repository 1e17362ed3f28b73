# SPDX-License-Identifier: Apache-2.0
"""Tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, a line per row, with a line break at its end; see [`escape_cell`] for texts of others."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escape_cell(text: str) -> str:
    """A text that may hold anything, to stand in one field of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
