# SPDX-License-Identifier: Apache-2.0
"""The files that a comparison leaves: tables to read and to compute with, and its figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_file
from ..reports.plots import figure_png
from ..reports.tables import markdown_table
from .figures import draw_classes, draw_gains
from .variants import SUMMARY, Summary

_NOTES = """
± is the standard deviation over the runs. Gain, change and p compare with the first variant: 95 % percentile
intervals and two-sided p-values of a paired bootstrap over test texts and runs, corrected over the variants by Holm's
method. The frequent and the rare third are the labels with the most and the fewest training texts in the first
variant; the gap is the macro-F1 of the one less that of the other.
"""


def write_report(folder: Path, summary: Summary) -> str:
    """
    Write comparison.md, .csv, .json and .png, and classes.csv and .png.

    Args:
        folder (`Path`): Where they go.
        summary (`dict`): Of [`~trainer_ext.comparison.variants.compare_variants`].

    Returns:
        `str`: The Markdown table.
    """
    header, *rows = comparison_rows(summary)
    table = markdown_table(header, rows)
    # The first variant lacks the columns of the gains.
    fields = list(dict.fromkeys(key for entry in summary["variants"].values() for key in entry))
    numbers = [["variant", *fields]]
    numbers += [[name, *(entry.get(key, "") for key in fields)] for name, entry in summary["variants"].items()]
    files: dict[str, str | bytes] = {
        "comparison.md": table + _NOTES,
        "comparison.csv": _csv(numbers),
        "comparison.json": json.dumps(summary, indent=2, ensure_ascii=False) + "\n",
        "comparison.png": figure_png(draw_gains(summary)),
        "classes.csv": _csv(class_rows(summary)),
        "classes.png": figure_png(draw_classes(summary)),
    }
    for name, content in files.items():
        write_file(folder / name, content)
    return table


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    sheet = io.StringIO()
    csv.writer(sheet).writerows(rows)
    return sheet.getvalue()


def comparison_rows(summary: Summary) -> list[list[str]]:
    """The variants as the rows of a table to read, the header first."""
    header = ["variant", "runs", "macro-F1", "gain [95 %]", "p", "p (Holm)", "rare third", "gain [95 %]", "p (Holm)"]
    header += ["gap", "change [95 %]", "p (Holm)", "micro-F1", "Jaccard", "AUC", "AP", "gain [95 %]", "p (Holm)"]
    rows = [header]
    for variant, entry in summary["variants"].items():
        deviation = "" if entry["macro_f1_sd"] is None else f" ± {entry['macro_f1_sd']:.3f}"
        row = [variant, str(entry["num_runs"]), f"{entry['macro_f1']:.3f}{deviation}"]
        row += [_gain(entry, "macro_f1"), _p(entry, "macro_f1_p"), _p(entry, "macro_f1_p_holm")]
        for name in ("macro_f1_rare", "frequent_rare_gap"):
            row += [f"{entry[name]:.3f}", _gain(entry, name), _p(entry, f"{name}_p_holm")]
        row += [f"{entry[metric]:.3f}" for metric in SUMMARY[1:]]
        rows.append([*row, _gain(entry, SUMMARY[-1]), _p(entry, f"{SUMMARY[-1]}_p_holm")])
    return rows


def _gain(entry: Mapping[str, Any], name: str) -> str:
    if f"{name}_gain" not in entry:
        return "–"
    gain, low, high = (entry[f"{name}_gain{end}"] for end in ("", "_low", "_high"))
    return f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]"


def _p(entry: Mapping[str, Any], name: str) -> str:
    return f"{entry[name]:.3f}" if name in entry else "–"


def class_rows(summary: Summary) -> list[list[Any]]:
    """F1 of each label in each variant as the rows of a table, the header first."""
    variants = list(summary["variants"])
    rows: list[list[Any]] = [["label", "group", "train_count", "support", *variants]]
    for label, entry in summary["labels"].items():
        row = [label, entry["group"], entry["train_count"], entry["support"]]
        rows.append(row + [entry["f1"][variant] for variant in variants])
    return rows
