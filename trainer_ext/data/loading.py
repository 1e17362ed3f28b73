# SPDX-License-Identifier: Apache-2.0
"""Reads emotion data of every common layout into one form, a text and a 0/1 vector per row; or texts alone.

Every text is kept exactly as it stands in the file, except that lone surrogates (which JSON can spell and Arrow cannot
store) become U+FFFD.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from ..errors import InputError, reading
from .annotations import select_rows
from .headers import TEXT_COLUMNS
from .labels import LabelOptions
from .layouts import LayoutOptions, find_texts, read_labelled_texts
from .stratification import divide_texts, text_key
from .table_files import iter_tables, read_table, read_text
from .tables import Table, error_at, first_duplicate, require_rows, short, short_list, table_from_arrow
from .targets import LabelledTexts, TargetOptions
from .votes import agreement_by_label, match_votes

_ROWS_IN_MEMORY = 1000


@dataclass(frozen=True)
class EmotionData:
    """Multi-label data, every split with the same labels in the same order.

    Args:
        label_names (`list[str]`): The labels; label `i` is entry `i` of every row of `labels`.
        splits (`dict[str, datasets.Dataset]`): `train` and, where there are such, `validation` and `test`; each with
            the columns `text` (string) and `labels` (list of `num_labels` float32 in [0, 1], or NaN where the data do
            not know a label of a text). Of several sources, also `source` (its name).
        agreement (`dict[str, float]`): Krippendorff's alpha by label, where several raters gave the training labels.
    """

    label_names: list[str]
    splits: dict[str, datasets.Dataset]
    agreement: dict[str, float] = field(default_factory=dict)


def load_emotion_data(
    *,
    train_file: str | os.PathLike[str] | None = None,
    validation_file: str | os.PathLike[str] | None = None,
    test_file: str | os.PathLike[str] | None = None,
    dataset_name: str | None = None,
    dataset_config: str | None = None,
    dataset_revision: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | str | os.PathLike[str] | None = None,
    label_separator: str | None = None,
    label_map: Mapping[str, str | None] | None = None,
    blank_labels: str | None = None,
    max_intensity: float | None = None,
    vote_targets: str = "majority",
    votes_file: str | os.PathLike[str] | None = None,
    train_split: str = "train",
    validation_split: str = "validation",
    test_split: str = "test",
    validation_ratio: float = 0.0,
    test_ratio: float = 0.0,
    seed: int = 42,
) -> EmotionData:
    """Read the training data and, where there are such, validation and test data, from local files or from the Hub.

    Without `label_names` the labels are those of the training data: 0/1 columns in their order in the file, names in
    alphabetical order, ids by the names in the dataset's features, or as [`GOEMOTIONS_LABELS`] where exactly the ids
    0 to 27 occur. A label that only validation or test data have is an error; one that they lack is unknown there. A
    label that no training row knows is left out.

    Args:
        train_file (`str` or `os.PathLike`, *optional*): Training data; see [`read_file`] for the formats. Either this
            or `dataset_name` is needed.
        validation_file (`str` or `os.PathLike`, *optional*): Validation data.
        test_file (`str` or `os.PathLike`, *optional*): Test data.
        dataset_name (`str`, *optional*): Hub id or local folder for `datasets.load_dataset`.
        dataset_config (`str`, *optional*): Configuration of that dataset.
        dataset_revision (`str`, *optional*): Git revision of that dataset.
        text_column (`str`, *optional*, defaults to the first of `TEXT_COLUMNS` that is there): Column of the texts.
        label_column (`str`, *optional*, defaults to the layout found): Column of label names, ids or 0/1 vectors.
        label_names (`Sequence[str]`, `str` or `os.PathLike`, *optional*): The labels in order, or the path of a text
            file with one label per line. With 0/1 columns they also choose which columns are labels.
        label_separator (`str`, *optional*, defaults to the one found): The mark between labels of a cell that is no
            list; without it a comma, semicolon, bar or hash does, whichever occurs.
        label_map (`Mapping[str, str]`, *optional*): Labels that get another name, such as `{"Joy": "joy"}`; labels
            of the same name become one, those of the name `None` are left out.
        blank_labels, max_intensity, vote_targets (*optional*): How blanks, intensities and votes become targets; see
            [`TargetOptions`].
        votes_file (`str` or `os.PathLike`, *optional*): Votes of raters on texts of the training data, in a layout of
            [`trainer_ext.data.votes`]: the targets of these texts become those of their votes, the labels' names
            whatever their case. They are joined by text where any text of the file is a training text, otherwise by
            the first id column of `ID_COLUMNS` that both files have, or that each has; equal texts share their votes.
        train_split (`str`, *optional*, defaults to `"train"`): Name of the training split on the Hub.
        validation_split (`str`, *optional*, defaults to `"validation"`): Name of the validation split on the Hub; only
            the default name may be missing there.
        test_split (`str`, *optional*, defaults to `"test"`): Name of the test split on the Hub; likewise.
        validation_ratio (`float`, *optional*, defaults to 0.0): Share of the training data, in [0, 1), that becomes
            the validation split where there is none; see [`iterative_stratification`].
        test_ratio (`float`, *optional*, defaults to 0.0): Likewise for the test split; both sum to less than 1.
        seed (`int`, *optional*, defaults to 42): Seed of that division; at least 0.

    Returns:
        `EmotionData`: The label names and the splits that exist.

    Raises:
        `InputError`: If the arguments contradict each other, or the data are not as expected.
    """
    names = _check_label_names(label_names)
    ratios = {"validation": validation_ratio, "test": test_ratio}
    _check_ratios(ratios)
    files = {"train": train_file, "validation": validation_file, "test": test_file}
    if dataset_name is None:
        tables = _read_tables(files)
    elif any(path is not None for path in files.values()):
        given = ", ".join(f"{split}_file" for split, path in files.items() if path is not None)
        raise InputError(f"dataset_name and {given} are both given, expected one source; leave one of them out")
    else:
        split_names = {"train": train_split, "validation": validation_split, "test": test_split}
        tables = _load_tables(dataset_name, dataset_config, dataset_revision, split_names)

    labels = LabelOptions(
        names,
        separator=_check_separator(label_separator),
        renames=label_map or {},
        targets=TargetOptions(blank_labels, max_intensity, vote_targets),
        may_rename_others=votes_file is not None,
    )
    options = LayoutOptions(text_column, label_column, labels)
    names, splits = _read_splits(tables, options)
    if votes_file is not None:
        splits["train"] = _with_votes(splits["train"], names, tables["train"], read_table(votes_file), options)
    ratios = {split: ratio for split, ratio in ratios.items() if ratio > 0 and split not in splits}
    if ratios:
        splits |= _divide(splits["train"], ratios, seed, tables["train"].source)
    agreement = agreement_by_label(names, splits["train"].agreement)
    return EmotionData(names, {split: to_dataset(splits[split]) for split in files if split in splits}, agreement)


def load_evaluation_splits(
    label_names: Sequence[str],
    *,
    validation_file: str | os.PathLike[str] | None = None,
    test_file: str | os.PathLike[str] | None = None,
    dataset_name: str | None = None,
    dataset_config: str | None = None,
    dataset_revision: str | None = None,
    validation_split: str = "validation",
    test_split: str = "test",
    text_column: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    label_map: Mapping[str, str | None] | None = None,
    blank_labels: str | None = None,
    max_intensity: float | None = None,
) -> dict[str, datasets.Dataset]:
    """
    Read validation and test data, or one of them, for a model of given labels.

    Args:
        label_names (`Sequence[str]`): The model's labels; those that the data lack are unknown, with a warning.
        others: As in [`load_emotion_data`].

    Raises:
        `InputError`: If there are no such data, or they are not as expected.
    """
    if dataset_name is None:
        files = {"validation": validation_file, "test": test_file}
        tables = {split: read_table(path) for split, path in files.items() if path is not None}
    else:
        split_names = {"validation": validation_split, "test": test_split}
        tables = _load_tables(dataset_name, dataset_config, dataset_revision, split_names)
    if not tables:
        raise InputError("there is nothing to evaluate on; give it a test_file, or a dataset_name with a test split")
    labels = LabelOptions(
        list(label_names),
        learned_from="the training data",
        separator=_check_separator(label_separator),
        renames=label_map or {},
        targets=TargetOptions(blank_labels, max_intensity),
        may_lack=True,
        may_rename_others=True,
    )
    options = LayoutOptions(text_column, label_column, labels)
    return {split: to_dataset(read_labelled_texts(table, options)[0]) for split, table in tables.items()}


def read_file(
    path: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | str | os.PathLike[str] | None = None,
    label_separator: str | None = None,
    label_map: Mapping[str, str | None] | None = None,
    blank_labels: str | None = None,
    max_intensity: float | None = None,
    may_lack_labels: bool = False,
) -> tuple[datasets.Dataset, list[str]]:
    """Read one file of texts and labels.

    Args:
        path (`str` or `os.PathLike`): A `.csv`, `.tsv`, `.txt` (tab separated), `.jsonl` or `.json` (one object per
            line, or an array of objects) or `.parquet` file; all but the last may be compressed (`.gz`). Text is
            UTF-8, with or without BOM, or UTF-16.
        text_column (`str`, *optional*, defaults to the first of `TEXT_COLUMNS` that is there): Column of the texts.
        label_column (`str`, *optional*, defaults to the layout found): Column of label names, ids or 0/1 vectors.
        label_names (`Sequence[str]`, `str` or `os.PathLike`, *optional*): The labels in order (a model's, say), or
            the path of a text file with one label per line; without them the labels are those of the file. 0/1
            columns must be there for all of them, other layouts must have no label beyond them.
        label_separator (`str`, *optional*, defaults to the one found): As in [`load_emotion_data`].
        label_map, blank_labels, max_intensity (*optional*): Likewise.
        may_lack_labels (`bool`, *optional*, defaults to `False`): Whether labels without a column are unknown, with a
            warning, rather than an error.

    Returns:
        `tuple[datasets.Dataset, list[str]]`: The data with the columns `text` (string) and `labels` (list of
        `num_labels` float32 in [0, 1], NaN where unknown), and the label names.

    Raises:
        `InputError`: If the file is missing, not as expected or does not match `label_names`.
    """
    names = _check_label_names(label_names)
    labels = LabelOptions(
        names,
        separator=_check_separator(label_separator),
        renames=label_map or {},
        targets=TargetOptions(blank_labels, max_intensity),
        may_lack=may_lack_labels,
    )
    rows, names = read_labelled_texts(read_table(path), LayoutOptions(text_column, label_column, labels))
    return to_dataset(rows), names


def read_texts(path: str | os.PathLike[str], text_column: str | None = None) -> list[str]:
    """
    The texts of a file that needs no labels.

    Args:
        path (`str` or `os.PathLike`): A `.txt` file with one text per line, or any file of [`read_table`], such as the
            `.txt` files of SemEval-2018; may be compressed (`.gz`).
        text_column (`str`, *optional*): Column of the texts, by default found by its name.

    Raises:
        `InputError`: If the file is missing or malformed, or has no such column.
    """
    if str(path).lower().removesuffix(".gz").endswith(".txt") and Path(path).is_file():
        # Not by `splitlines`, which also divides a text where a word processor would.
        lines = [line.rstrip("\n") for line in io.StringIO(read_text(Path(path)), newline=None) if line.strip()]
        if lines and not _is_header(lines[0], text_column):
            return lines
    return find_texts(read_table(path), text_column)[0]


def iter_texts(path: str | os.PathLike[str], text_column: str | None = None) -> Iterator[str]:
    """
    The texts of a table one by one, in the memory that [`iter_tables`] takes.

    Args:
        path (`str` or `os.PathLike`): A file as of [`read_table`].
        text_column (`str`, *optional*): Column of the texts, by default found by its name.

    Raises:
        `InputError`: If the file is missing or malformed, or has no such column.
    """
    for table in iter_tables(path, _ROWS_IN_MEMORY):
        texts, text_column = find_texts(table, text_column)
        yield from texts


def _is_header(line: str, text_column: str | None) -> bool:
    names = [name.strip() for name in line.split("\t")]
    return len(names) > 1 and (text_column in names or any(name.lower() in TEXT_COLUMNS for name in names))


def _read_tables(files: dict[str, str | os.PathLike[str] | None]) -> dict[str, Table]:
    if files["train"] is None:
        raise InputError("neither train_file nor dataset_name is given, expected one of them; name the training data")
    return {split: read_table(path) for split, path in files.items() if path is not None}


def _load_tables(name: str, config: str | None, revision: str | None, split_names: dict[str, str]) -> dict[str, Table]:
    source = name if config is None else f"{name} ({config})"
    with reading(source):
        loaded = datasets.load_dataset(name, config, revision=revision)
    tables = {}
    for split, split_name in split_names.items():
        if split_name in loaded:
            data = loaded[split_name]
            table = data.with_format("arrow")[:]
            table = table_from_arrow(f"{source}, split {split_name!r}", table, data.features)
            tables[split] = require_rows(table)
        elif split == "train" or split_name != split:
            raise InputError(
                f"{source}: has no split {split_name!r}, expected it as {split}_split; "
                f"name one of: {', '.join(map(repr, loaded))}"
            )
    return tables


def _read_splits(tables: dict[str, Table], options: LayoutOptions) -> tuple[list[str], dict[str, LabelledTexts]]:
    train, names = read_labelled_texts(tables["train"], options)
    labels = replace(options.labels, may_rename_others=True)
    if labels.names is None:
        source = tables["train"].source
        train, names = _without_unknown(train, names, source)
        labels = replace(labels, names=names, learned_from=source, may_lack=True)
    options = replace(options, labels=labels)
    others = {split: read_labelled_texts(table, options)[0] for split, table in tables.items() if split != "train"}
    return names, {"train": train, **others}


def _without_unknown(rows: LabelledTexts, names: list[str], source: str) -> tuple[LabelledTexts, list[str]]:
    """The same without labels that no row knows."""
    known = np.flatnonzero(~np.isnan(rows.labels).all(axis=0))
    if len(known) == len(names):
        return rows, names
    unknown = [name for index, name in enumerate(names) if index not in known]
    warnings.warn(f"{source}: no row knows {short_list(unknown)} (blank throughout); left out.", stacklevel=2)
    agreement = None if rows.agreement is None else rows.agreement[known]
    return LabelledTexts(rows.texts, rows.labels[:, known], agreement), [names[index] for index in known]


def _with_votes(
    train: LabelledTexts, names: list[str], train_table: Table, table: Table, options: LayoutOptions
) -> LabelledTexts:
    """The training data, with the targets of votes where there are such."""
    renames: dict[str, str | None] = {
        label: name for name in names for label in (name, name.title(), name.upper(), name.capitalize())
    }
    renames |= options.labels.renames
    labels = replace(options.labels, names=names, learned_from="the training data", renames=renames)
    keys = [*map(text_key, train.texts)]
    texts, _ = find_texts(train_table, options.text_column)
    table, text_column, way = match_votes(select_rows(table), train_table, texts, train.texts, options.text_column)
    votes, _ = read_labelled_texts(table, LayoutOptions(text_column, None, labels))
    rows = {text_key(text): row for row, text in enumerate(votes.texts)}
    targets = train.labels.copy()
    found = [(index, rows[key]) for index, key in enumerate(keys) if key in rows]
    for index, row in found:
        known = ~np.isnan(votes.labels[row])
        targets[index, known] = votes.labels[row, known]
    message = f"votes on {len(found):,} of {len(keys):,} training texts are their targets, joined by {way}."
    warnings.warn(f"{table.source}: {message}", stacklevel=2)
    return LabelledTexts(train.texts, targets, votes.agreement)


def to_dataset(rows: LabelledTexts) -> datasets.Dataset:
    """Rows as a data set with the columns `text` and `labels`."""
    num_rows, num_labels = rows.labels.shape
    offsets = pa.array(np.arange(num_rows + 1, dtype=np.int32) * num_labels)
    labels = pa.ListArray.from_arrays(offsets, pa.array(rows.labels.ravel(), pa.float32()))
    return datasets.Dataset(pa.table({"text": pa.array(rows.texts, pa.string()), "labels": labels}))


def _check_label_names(label_names: Sequence[str] | str | os.PathLike[str] | None) -> list[str] | None:
    if label_names is None:
        return None
    source = "label_names"
    if isinstance(label_names, str | os.PathLike):
        source = str(label_names)
        if not Path(source).is_file():
            problem = "is no file; give label_names as a list, or as the path of a text file with one label per line"
            raise error_at(f"label_names {source!r}", problem)
        label_names = [line for line in read_text(Path(source)).splitlines() if line.strip()]
    for name in label_names:
        if not isinstance(name, str) or not name.strip():
            raise error_at(source, f"expected names, got {short(name)}; write every label as a string, in quotes")
    names = [name.strip() for name in label_names]
    if not names:
        raise error_at(source, "expected at least one label, got none; name the labels or leave label_names out")
    duplicate = first_duplicate(names)
    if duplicate is not None:
        raise error_at(source, f"label {duplicate!r} occurs twice, expected different labels; remove one of them")
    return names


def _check_separator(separator: str | None) -> str | None:
    if separator == "":
        raise InputError(
            "label_separator is empty, expected the mark between the labels of a cell; leave it out or name it"
        )
    return separator


def _check_ratios(ratios: dict[str, float]) -> None:
    if min(ratios.values()) < 0 or not sum(ratios.values()) < 1:
        got = " and ".join(f"{split}_ratio {ratio}" for split, ratio in ratios.items())
        raise InputError(f"{got}: expected ratios of at least 0 that sum to less than 1; lower them")


def _divide(train: LabelledTexts, ratios: dict[str, float], seed: int, source: str) -> dict[str, LabelledTexts]:
    """The training data without the splits that are taken from it, and those splits."""
    shares = {"train": 1 - sum(ratios.values()), **ratios}
    subsets, num_recurring = divide_texts(train.texts, train.labels, list(shares.values()), seed)
    if num_recurring:
        recurring = "1 text recurs" if num_recurring == 1 else f"{num_recurring:,} texts recur"
        warnings.warn(f"{source}: {recurring}; all rows of a text go to the same split.", stacklevel=2)
    splits = {}
    for subset, split in enumerate(shares):
        rows = np.flatnonzero(subsets == subset)
        if len(rows) == 0:
            problem = f"{len(train.texts)} rows leave none for {split} at a ratio of {shares[split]:.3g}"
            raise error_at(source, f"{problem}, expected at least one; change the ratios or add rows")
        splits[split] = LabelledTexts([train.texts[row] for row in rows], train.labels[rows])
    return splits
