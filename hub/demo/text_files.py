# SPDX-License-Identifier: Apache-2.0
"""Files of texts in, files of results out."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trainer_ext.data.headers import TEXT_COLUMNS, find_column, find_delimiter

from .analysis import Analysis, InputError, check_number, check_text

# Characters that a spreadsheet takes for the beginning of a formula, in both widths.
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class TextFile(NamedTuple):
    """The texts of a file, `""` where one is blank, and the name of the column they are from (none in plain text)."""

    texts: list[str]
    column: str | None


def read_texts(path: str | Path | None) -> TextFile:
    """
    Read a .csv file (header row; the column of texts is found as in training, or is the only one) or a .txt file (one
    text per line).

    Args:
        path (`str` or `Path`, *optional*): The file, UTF-8 with or without a byte order mark. Cells of a .csv file
            are separated by commas, semicolons or tabs.

    Raises:
        [`InputError`]: If there is no file, or it is not as described, or holds no text or more than `MAX_ROWS`, or a
            text is longer than `MAX_CHARACTERS`.
    """
    if path is None:
        raise InputError("There is no file yet: choose a .csv or .txt file.")
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".txt"):
        raise InputError(f"Expected a .csv or .txt file, got “{path.name}”.")
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"“{path.name}” is not UTF-8 text: save it as “CSV UTF-8” or as plain UTF-8 text.") from error
    if "\0" in content:
        raise InputError(f"“{path.name}” is not a text file: it holds zero bytes.")
    if path.suffix.lower() == ".txt":
        file = TextFile([line.rstrip("\r") for line in content.removesuffix("\n").split("\n")], None)
    else:
        file = _read_csv(content, path.name)
    check_number(len(file.texts), f"“{path.name}”")
    texts = [
        check_text(text, f"“{path.name}”, text {number}") if text.strip() else ""
        for number, text in enumerate(file.texts, start=1)
    ]
    if not any(texts):
        raise InputError(f"“{path.name}” holds no text.")
    return file._replace(texts=texts)


def _read_csv(content: str, name: str) -> TextFile:
    delimiter = find_delimiter(io.StringIO(content, newline=""))
    # Of the whole process: never lower than other readers have it.
    csv.field_size_limit(max(csv.field_size_limit(), len(content) + 1))
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise InputError(f"“{name}”, line {reader.line_num} is no valid CSV: {error}.") from error
    if len(rows) < 2:
        raise InputError(f"“{name}” holds no text: expected a header row and a row per text.")
    header, *rows = rows
    for number, row in enumerate(rows, start=1):
        if len(row) > len(header):
            raise InputError(
                f"“{name}”, text {number} has {len(row)} cells, the header has {len(header)}: "
                "put texts that hold the separator in double quotes."
            )
    name_of_texts = find_column(header, TEXT_COLUMNS) if len(header) > 1 else header[0]
    if name_of_texts is None:
        raise InputError(
            f"“{name}” has no column of texts: call it {' or '.join(TEXT_COLUMNS)} "
            f"(columns: {', '.join(map(repr, header))})."
        )
    column = header.index(name_of_texts)
    return TextFile([row[column] if column < len(row) else "" for row in rows], name_of_texts)


def safe_cell(text: str) -> str:
    """The text, behind an apostrophe if a spreadsheet would run it as a formula."""
    return f"'{text}" if text.lstrip().startswith(_FORMULA_STARTS) or text.startswith(("\t", "\r", "\n")) else text


def results_csv(texts: Sequence[str], analyses: Sequence[Analysis | None], labels: Sequence[str]) -> str:
    """
    A row per text: `text`, `predicted_labels` (separated by `|`, best first) and the probability of each label.

    Args:
        texts (`Sequence[str]`): The texts.
        analyses (`Sequence[Analysis | None]`): One per text; none for a blank one, whose row stays empty.
        labels (`Sequence[str]`): Names of the columns of probabilities.
    """
    output = io.StringIO(newline="")
    writer = csv.writer(output)
    writer.writerow(["text", "predicted_labels", *map(safe_cell, labels)])
    for text, analysis in zip(texts, analyses, strict=True):
        if analysis is None:
            writer.writerow([safe_cell(text), "", *[""] * len(labels)])
            continue
        names = "|".join(emotion.label for emotion in analysis.predicted)
        scores = [f"{emotion.score:.6f}" for emotion in analysis.emotions]
        writer.writerow([safe_cell(text), safe_cell(names), *scores])
    return output.getvalue()
