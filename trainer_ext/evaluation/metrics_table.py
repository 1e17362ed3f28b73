# SPDX-License-Identifier: Apache-2.0
"""Metrics as a plain-text table."""

# Staged beside `metrics.py`: it imports nothing else of the project.

import math
import unicodedata
from collections.abc import Mapping, Sequence

from .metrics import GRADED_METRICS, SUMMARY_METRICS

LABEL_METRICS = ("precision", "recall", "f1", "roc_auc")


def format_metrics_table(
    metrics: Mapping[str, float],
    label_names: Sequence[str],
    *,
    name: str = "value",
    columns: Mapping[str, Mapping[str, float]] | None = None,
    num_digits: int = 3,
) -> str:
    """Format metrics as an aligned plain-text table for a terminal.

    The first block has one row per summary metric and one column per result. The second has one row per label, with
    the most frequent labels first: the support, precision, recall, F1 and ROC AUC of `metrics`, with graded gold also
    Pearson's r and the mean absolute error, then the F1 of each of the other results. Missing and NaN values show as
    `-`.

    Args:
        metrics (`Mapping[str, float]`): The main result of `multilabel_metrics`.
        label_names (`Sequence[str]` of length `num_labels`): The labels that `metrics` was computed with. They may be
            of any script; columns are aligned by display width.
        name (`str`, *optional*, defaults to `"value"`): The column name of `metrics`.
        columns (`Mapping[str, Mapping[str, float]]`, *optional*): Further results to show beside it, by column name,
            such as the same model at the threshold 0.5 and a baseline.
        num_digits (`int`, *optional*, defaults to 3): Decimal places.

    Returns:
        `str`: The lines of the table, without a newline at the end.

    Raises:
        `ValueError`: If `metrics` has no `support/<label>` for a label, or a further column is also named `name`.
    """
    others = dict(columns or {})
    if name in others:
        raise ValueError(f"Column names must differ, got {name!r} twice; set `name` or rename it in `columns`.")
    missing = [label for label in label_names if f"support/{label}" not in metrics]
    if missing:
        raise ValueError(
            f"`metrics` has no 'support/{missing[0]}'; pass the `label_names` that the metrics were computed with."
        )
    results = {name: metrics, **others}
    known_keys = (*SUMMARY_METRICS, *(f"macro_{key}" for key in GRADED_METRICS))
    keys = [key for key in known_keys if any(key in result for result in results.values())]
    summary = [["metric", *results]]
    summary += [[key, *(_format_value(result.get(key), num_digits) for result in results.values())] for key in keys]

    graded = [key for key in GRADED_METRICS if f"macro_{key}" in metrics]
    label_keys = [*LABEL_METRICS, *graded]
    per_label = [["label", "support", *label_keys, *(f"f1 ({other})" for other in others)]]
    for label in sorted(label_names, key=lambda label: -metrics[f"support/{label}"]):
        values = [metrics.get(f"{key}/{label}") for key in label_keys]
        values += [result.get(f"f1/{label}") for result in others.values()]
        support = f"{metrics[f'support/{label}']:.0f}"
        # Control characters would command the terminal.
        shown = "".join(" " if unicodedata.category(char) == "Cc" else char for char in label)
        per_label.append([shown, support, *(_format_value(value, num_digits) for value in values)])
    return "\n".join([*align_rows(summary), "", *align_rows(per_label)])


def _format_value(value: float | None, num_digits: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{num_digits}f}"


def _display_width(text: str) -> int:
    """Columns of a terminal: 2 for wide characters, 0 for combining marks and format characters."""
    invisible = ("Mn", "Me", "Cf")
    visible = [character for character in text if unicodedata.category(character) not in invisible]
    return len(visible) + sum(unicodedata.east_asian_width(character) in ("W", "F") for character in visible)


def align_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Pad the texts of each column to one display width: the first column to the left, the others to the right."""
    widths = [max(map(_display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        gaps = [" " * (width - _display_width(text)) for text, width in zip(row, widths, strict=True)]
        padded = [row[0] + gaps[0], *(gap + text for gap, text in zip(gaps[1:], row[1:], strict=True))]
        lines.append("  ".join(padded).rstrip())
    return lines
