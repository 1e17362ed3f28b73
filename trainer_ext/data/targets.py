# SPDX-License-Identifier: Apache-2.0
"""One column per label: what each cell says of its row and label, a number between 0 and 1 or nothing."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .cells import MARKS, NUMBERS, WORDS, Notation, is_missing, to_binary
from .tables import Table, short

FloatArray = npt.NDArray[np.float32]

BLANK_LABELS = ("unknown", "negative")
VOTE_TARGETS = ("majority", "share")


class LabelledTexts(NamedTuple):
    """
    Texts and their targets.

    Attributes:
        texts: The texts.
        labels: Of shape `(num_rows, num_labels)`, in [0, 1], NaN where unknown.
        agreement: Krippendorff's alpha of each label, where several raters gave them, of shape `(num_labels,)`.
    """

    texts: list[str]
    labels: FloatArray
    agreement: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True)
class TargetOptions:
    """
    How cells and votes become targets.

    Args:
        blank_labels (`str`, *optional*): The meaning of a blank among the values of a label column: `unknown` or
            `negative`. A column that is blank throughout is unknown in any case.
        max_intensity (`float`, *optional*): The greatest value of a label, which becomes 1, where labels are
            intensities (3 for 0 to 3) or shares (1); the others are divided by it.
        vote_targets (`str`, *optional*, defaults to `"majority"`): A label that several raters were asked for is 1
            where more than half of them gave it (`majority`), or the share of those who did (`share`).
    """

    blank_labels: str | None = None
    max_intensity: float | None = None
    vote_targets: str = "majority"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("blank_labels", self.blank_labels, (None, *BLANK_LABELS)),
            ("vote_targets", self.vote_targets, VOTE_TARGETS),
        ):
            if value not in choices:
                raise InputError(f"`{name}` must be one of {', '.join(filter(None, choices))}, got {value!r}.")
        if self.max_intensity is not None and not (self.max_intensity > 0 and math.isfinite(self.max_intensity)):
            raise InputError(f"`max_intensity` must be a number above 0, got {self.max_intensity}.")

    def expected(self, notation: Notation) -> str:
        """The values of a label column, as error messages name them."""
        return notation.expected if self.max_intensity is None else self.expected_number

    @property
    def expected_number(self) -> str:
        """The range of intensities, likewise."""
        return f"a number from 0 to {self.max_intensity:g}"


def read_target_columns(table: Table, columns: Sequence[str], options: TargetOptions) -> FloatArray:
    """
    The targets of columns that stand for a label each.

    Args:
        table (`Table`): The table, with at least one row.
        columns (`Sequence[str]`): The columns.
        options (`TargetOptions`): The meaning of blanks and numbers.

    Returns:
        `np.ndarray` of shape `(num_rows, num_columns)`: In [0, 1], NaN where unknown.

    Raises:
        `InputError`: For the first row with a value that is none.
    """
    notation = find_notation(table, columns, options)
    targets = np.stack([_targets(table.values(column), notation, options) for column in columns], axis=1)
    wrong = targets < 0
    if wrong.any():
        # Row by row, so that the first wrong row of the file is named, whatever its column.
        index, position = divmod(int(np.argmax(wrong.ravel())), len(columns))
        raise _wrong_target(table, index, columns[position], notation, options)
    return targets


def first_wrong_target(
    table: Table, column: str, notation: Notation, options: TargetOptions, remedy: str
) -> InputError:
    """The error for the first cell of a column that is no target."""
    index = int(np.argmax(_targets(table.values(column), notation, options) < 0))
    return _wrong_target(table, index, column, notation, options, remedy)


def is_target_column(table: Table, column: str, notation: Notation, options: TargetOptions) -> bool:
    """Whether at least half of a column's values are targets, the others being mistakes to report."""
    return bool(np.mean(_targets(table.values(column), notation, options) >= 0) >= 0.5)


def may_be_target_column(table: Table, column: str, notation: Notation, options: TargetOptions) -> bool:
    """The same of its values that are not blank; a column of blanks may be one as well."""
    values = [value for value in table.values(column) if not is_missing(value)]
    return not values or bool(np.mean(_targets(values, notation, options) >= 0) >= 0.5)


def is_blank_column(table: Table, column: str) -> bool:
    """Whether a column holds nothing at all."""
    return all(map(is_missing, table.values(column)))


def worded_columns(table: Table, columns: Sequence[str]) -> list[str]:
    """The columns that say yes and no, or have an x or nothing."""
    for notation in (WORDS, MARKS):
        worded = [column for column in columns if is_target_column(table, column, notation, TargetOptions())]
        if worded and find_notation(table, worded, TargetOptions()) is notation:
            return worded
    return []


def find_notation(table: Table, columns: Sequence[str], options: TargetOptions) -> Notation:
    """The first notation that some value of the columns is written in; nothing is a mark only beside an x."""
    if options.max_intensity is not None:
        return NUMBERS
    values = [value for column in columns for value in table.values(column)]
    for notation, least in ((NUMBERS, 0), (WORDS, 0), (MARKS, 1)):
        if (to_binary(values, notation) >= least).any():
            return notation
    return NUMBERS


def join_targets(targets: FloatArray) -> FloatArray:
    """
    The target of a label that several columns stand for: the greatest one; unknown where one of them is, unless
    another says 1.

    *Shape:* `(num_rows, num_columns)` to `(num_rows,)`.
    """
    greatest: FloatArray = np.where(np.isnan(targets), np.float32(0), targets).max(axis=1)
    return np.where(np.isnan(targets).any(axis=1) & (greatest < 1), np.float32(np.nan), greatest)


def warn_of_low_intensities(source: str, labels: FloatArray, options: TargetOptions) -> None:
    """Warn of a file, such as one of 0 and 1, with intensities above 0 of which none is high enough for a yes."""
    known = labels[~np.isnan(labels)]
    if options.max_intensity is not None and known.any() and known.max() < 0.5:
        greatest = f"{known.max() * options.max_intensity:g} of {options.max_intensity:g}"
        problem = f"the greatest intensity is {greatest}, and a text has an emotion from half of that on: none has one"
        warnings.warn(f"{source}: {problem}. Is max_intensity right for this file?", stacklevel=2)


def _wrong_target(
    table: Table, index: int, column: str, notation: Notation, options: TargetOptions, remedy: str | None = None
) -> InputError:
    value = table.values(column)[index]
    if remedy is None:
        remedy = "correct the value"
        if is_missing(value):
            remedy = "give blank_labels: negative if it means no, unknown if nobody looked"
        elif options.max_intensity is None and number_of(value) > 0:
            remedy = "correct the value, or give max_intensity, the greatest of the column's values"
    problem = f"expected {options.expected(notation)}, got {short(value)}; {remedy}"
    return table.error(problem, index=index, column=column)


def _targets(values: list[Any], notation: Notation, options: TargetOptions) -> FloatArray:
    """A target per value: in [0, 1], NaN for unknown, -1 for a value that is none."""
    if options.max_intensity is None:
        targets = to_binary(values, notation).astype(np.float32)
    else:
        numbers = {value: number_of(value) / options.max_intensity for value in {*map(_hashable, values)}}
        targets = np.array([numbers[_hashable(value)] for value in values], np.float32)
        targets[~((targets >= 0) & (targets <= 1))] = -1
    if notation is MARKS:
        return targets
    is_blank = np.fromiter(map(is_missing, values), bool, len(values))
    if is_blank.all() or options.blank_labels == "unknown":
        targets[is_blank] = np.nan
    elif options.blank_labels == "negative":
        targets[is_blank] = 0
    return targets


def _hashable(value: Any) -> Any:
    return None if isinstance(value, list | dict) else value


def number_of(value: Any) -> float:
    """The number that a cell holds; NaN for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
