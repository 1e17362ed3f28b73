# SPDX-License-Identifier: Apache-2.0
"""The description of a balanced data set: its numbers, and the card and the figure made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.reports.plots import LOOK

from ..templates import render_template
from .balancing import Pool, Selection, co_occurrence
from .candidates import SOURCES, label_matrix

_FOLDER = Path(__file__).parent
_SOURCES: dict[str, dict[str, Any]] = yaml.safe_load((_FOLDER / "card_sources.yaml").read_text(encoding="utf-8"))
_NUM_PAIRS = 10
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
# Okabe and Ito (2008), Color Universal Design; in this order also told apart in grey.
_COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#F0E442")


def build_report(
    pool: Pool,
    selection: Selection,
    train: pa.Table,
    evaluation: Mapping[str, pa.Table],
    original: npt.NDArray[np.int64],
) -> dict[str, Any]:
    """
    Describe a selection; JSON can hold the result.

    Args:
        pool ([`Pool`]): The candidates.
        selection ([`Selection`]): The chosen ones.
        train (`pa.Table`): Their rows, copies included, in [`CANDIDATE_SCHEMA`].
        evaluation (`Mapping[str, pa.Table]`): `validation` and `test`, likewise.
        original (`np.ndarray` of shape `(num_labels,)`): Texts per label of the first source before anything was
            removed.

    Returns:
        `dict[str, Any]`: `ratio` is the most frequent label's count over the least frequent's, `human_label_ratio` the
        share of the labels that people gave, `teachers` the rows whose labels each model gave, `co_occurrence` the
        mean absolute difference of the cosines of all pairs of labels from those of the first source, after the
        selection and of all candidates.
    """
    chosen, chosen_sources = pool.labels[selection.indices], pool.sources[selection.indices]
    candidates = {name: pool.sources == index for index, name in enumerate(pool.source_names)}
    copies = {name: selection.copies * (chosen_sources == index) for index, name in enumerate(pool.source_names)}
    candidates = {name: rows for name, rows in candidates.items() if rows.any()}
    copies = {name: rows for name, rows in copies.items() if rows.any()}
    # The first source is labelled by people, other rows only where they carry votes.
    is_human = pc.or_(pc.equal(train["source"], SOURCES[0]), pc.is_valid(train["human_votes"]))
    num_labels = pc.list_value_length(train["labels"])
    return {
        "labels": list(GOEMOTIONS_LABELS),
        "target": selection.target,
        "max_count": selection.max_count,
        "limited_by": [GOEMOTIONS_LABELS[label] for label in selection.limited_by],
        "rows": {
            "candidates": {name: int(rows.sum()) for name, rows in candidates.items()},
            "train": {name: int(rows.sum()) for name, rows in copies.items()},
            **{split: table.num_rows for split, table in evaluation.items()},
        },
        "copied_rows": int(selection.copies.sum()) - len(selection.copies),
        "counts": {
            "original": _by_label(original),
            "candidates": {name: _by_label(pool.labels[rows].sum(axis=0)) for name, rows in candidates.items()},
            "train": {name: _by_label(rows @ chosen) for name, rows in copies.items()},
            "train_total": _by_label(selection.counts),
            **{split: _by_label(label_matrix(table).sum(axis=0)) for split, table in evaluation.items()},
        },
        "ratio": {"before": _ratio(original), "after": _ratio(selection.counts)},
        "deficits": _by_label(selection.deficits),
        "human_label_ratio": round(pc.sum(num_labels.filter(is_human)).as_py() / pc.sum(num_labels).as_py(), 4),
        "co_occurrence": _co_occurrence(pool, selection),
        "gaps": selection.gaps,
        "teachers": _value_counts(train.filter(pc.invert(is_human)), ["teacher", "teacher_revision"]),
        "prompts": _value_counts(train, ["prompt_id"]),
    }


def _by_label(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(GOEMOTIONS_LABELS, map(int, counts), strict=True))


def _ratio(counts: npt.NDArray[np.int64]) -> float | None:
    """None where a label has no text."""
    return round(float(counts.max() / counts.min()), 4) if counts.min() else None


def _co_occurrence(pool: Pool, selection: Selection) -> dict[str, Any]:
    first_labels, second_labels = upper = np.triu_indices(len(GOEMOTIONS_LABELS), 1)
    first_source = co_occurrence(pool.labels[pool.sources == pool.sources.min()])[upper]
    train = co_occurrence(pool.labels[selection.indices], selection.copies)[upper]
    largest = np.argsort(-np.abs(train - first_source), kind="stable")[:_NUM_PAIRS]
    return {
        "train": round(float(np.abs(train - first_source).mean()), 5),
        "candidates": round(float(np.abs(co_occurrence(pool.labels)[upper] - first_source).mean()), 5),
        "mean_cosine": round(float(first_source.mean()), 5),
        "largest": [
            {
                "labels": [GOEMOTIONS_LABELS[first_labels[pair]], GOEMOTIONS_LABELS[second_labels[pair]]],
                "first_source": round(float(first_source[pair]), 4),
                "train": round(float(train[pair]), 4),
            }
            for pair in largest
        ],
    }


def _value_counts(train: pa.Table, columns: list[str]) -> list[dict[str, Any]]:
    """The rows per combination of values, without rows that have none in the first column."""
    counted = train.filter(pc.is_valid(train[columns[0]])).group_by(columns).aggregate([([], "count_all")])
    return counted.rename_columns([*columns, "rows"]).sort_by([(name, "ascending") for name in columns]).to_pylist()


def render_card(
    report: Mapping[str, Any], name: str, *, repo_id: str | None = None, infos: Sequence[Mapping[str, Any]] = ()
) -> str:
    """
    The text of a data set repository's README.md; no number in it is typed.

    Args:
        report (`Mapping[str, Any]`): Of [`build_report`].
        name (`str`): The data set's name.
        repo_id (`str`, *optional*): Where the data set is on the Hub; by default the snippets load a folder `name`.
        infos (`Sequence[Mapping[str, Any]]`, *optional*): Features and splits of the configurations (`dataset_info`).
    """
    metadata = _metadata(report, name) | ({"dataset_info": list(infos)} if infos else {})
    return render_template(
        _FOLDER / "card_template.md",
        filters={"code": _code, "number": _number, "teacher_link": _teacher_link},
        report=report,
        name=name,
        repo_id=repo_id or name,
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip(),
        sources=_SOURCES,
        citations=filter(None, (_SOURCES[source].get("citation") for source in report["rows"]["train"])),
    )


def _metadata(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    rows = report["rows"]
    used = [_SOURCES[source] for source in rows["train"]]
    num_rows = sum(rows["train"].values()) + rows["validation"] + rows["test"]
    return {
        "pretty_name": name,
        "language": ["en"],
        "license": list(dict.fromkeys(source["licence_id"] for source in used)),
        "task_categories": ["text-classification"],
        "task_ids": ["multi-label-classification"],
        "tags": ["emotion"],
        "size_categories": [next((size for limit, size in _SIZES if num_rows < limit), "n>1M")],
        "source_datasets": list(dict.fromkeys(hub_id for source in used for hub_id in source["hub_ids"])),
        "configs": [
            {
                "config_name": config,
                "data_files": [
                    {"split": split, "path": f"{file}.parquet"}
                    for split, file in (("train", train), ("validation", "validation"), ("test", "test"))
                ],
            }
            for config, train in (("default", "train"), ("augmented", "train_augmented"))
        ],
    }


def _code(names: str | Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in ([names] if isinstance(names, str) else names))


def _teacher_link(name: str) -> str:
    return f"[{name}](https://huggingface.co/{name})" if "/" in name else f"`{name}`, not on the Hub"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3f}"


def draw_label_counts(report: Mapping[str, Any]) -> Figure:
    """
    Texts per label, the first source on the left, the selection by source on the right, labels by their count before.

    Args:
        report (`Mapping[str, Any]`): Of [`build_report`].
    """
    counts, target = report["counts"], report["target"]
    labels = sorted(report["labels"], key=lambda label: counts["original"][label])
    # The candidates name every source in the order of use, so that a source keeps its colour.
    colours = dict(zip(counts["candidates"], _COLOURS, strict=False))
    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(9.0, 0.19 * len(labels) + 1.5), layout="compressed")
        left, right = figure.subplots(1, 2, sharey=True)
        _draw_bars(left, labels, {next(iter(colours)): counts["original"]}, colours)
        _draw_bars(right, labels, counts["train"], colours)
        for axis, when, by_label in ((left, "Before", counts["original"]), (right, "After", counts["train_total"])):
            ratio = report["ratio"][when.lower()]
            spread = "a label without texts" if ratio is None else f"most to least {ratio:.2f}"
            axis.set_title(f"{when}: {sum(by_label.values()):,} labels, {spread}")
        right.axvline(target, color="black", linewidth=0.9, linestyle="--", label=f"target {target:,}")
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=len(_COLOURS) + 1)
    return figure


def _draw_bars(
    axis: Axes, labels: list[str], counts: Mapping[str, Mapping[str, int]], colours: Mapping[str, str]
) -> None:
    """Stacked bars with their total at the end."""
    ends = np.zeros(len(labels), dtype=np.int64)
    for source, by_label in counts.items():
        widths = np.array([by_label[label] for label in labels])
        axis.barh(labels, widths, left=ends, height=0.74, color=colours[source], label=source)
        ends += widths
    for row, end in enumerate(ends.tolist()):
        axis.annotate(f"{end:,}", (end, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5)
    axis.set(xlim=(0, max(1, ends.max()) * 1.14), ylim=(-0.6, len(labels) - 0.4), xlabel="texts")
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right"]].set_visible(False)
