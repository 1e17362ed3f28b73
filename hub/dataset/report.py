# SPDX-License-Identifier: Apache-2.0
"""The description of a balanced data set: its numbers, and the card and the figure made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
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
from trainer_ext.reports.tables import markdown_table

from .balancing import Pool, Selection, co_occurrence
from .candidates import SOURCES, label_matrix

_FOLDER = Path(__file__).parent
_TEMPLATE = Template((_FOLDER / "card_template.md").read_text(encoding="utf-8"))
_SOURCES: dict[str, dict[str, Any]] = yaml.safe_load((_FOLDER / "card_sources.yaml").read_text(encoding="utf-8"))
_NUM_PAIRS = 10
_YIELD_COLUMNS = {
    "value": "cut-off",
    "num_predicted": "validation texts above",
    "precision": "their precision",
    "lower_bound": "lower end",
    "reached": "tweets above",
    "contradicting": "contradicting",
    "accepted": "candidates",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
# Okabe and Ito (2008), Color Universal Design; in this order also told apart in grey.
_COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#F0E442")


def build_report(
    pool: Pool,
    selection: Selection,
    train: pa.Table,
    evaluation: Mapping[str, pa.Table],
    *,
    settings: Mapping[str, Any],
    original: npt.NDArray[np.int64],
    cleaning: Mapping[str, Mapping[str, int]],
    yields: Mapping[str, Any],
) -> dict[str, Any]:
    """
    Describe a selection; JSON can hold the result.

    Args:
        pool ([`Pool`]): The candidates.
        selection ([`Selection`]): The chosen ones.
        train (`pa.Table`): Their rows, copies included, in [`CANDIDATE_SCHEMA`].
        evaluation (`Mapping[str, pa.Table]`): `validation` and `test`, likewise.
        settings (`Mapping[str, Any]`): The recipe's.
        original (`np.ndarray` of shape `(num_labels,)`): Texts per label of the first source before anything was
            removed.
        cleaning (`Mapping[str, Mapping[str, int]]`): Source to the counts of [`keep_new`].
        yields (`Mapping[str, Any]`): The report of [`accept_tweets`] and its settings; empty without tweets.

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
        "cleaning": dict(cleaning),
        "yields": dict(yields),
        "settings": dict(settings),
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
    rows, pairs = report["rows"], report["co_occurrence"]
    numbers = {
        "num_labels": len(report["labels"]),
        "num_train": sum(rows["train"].values()),
        "num_validation": rows["validation"],
        "num_test": rows["test"],
        "num_first": next(iter(rows["candidates"].values())),
        "ratio_before": report["ratio"]["before"],
        "ratio_after": report["ratio"]["after"],
        "target": report["target"],
        "max_count": report["max_count"],
        "co_occurrence": pairs["train"],
        "co_occurrence_candidates": pairs["candidates"],
        "mean_cosine": pairs["mean_cosine"],
    }
    return _TEMPLATE.substitute(
        {key: _formatted(value) for key, value in numbers.items()} | _tables(report) | _sentences(report),
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip(),
        name=name,
        repo_id=repo_id or name,
        labels=", ".join(f"`{label}`" for label in report["labels"]),
        citations="\n\n".join(filter(None, (_SOURCES[source].get("citation") for source in rows["train"]))),
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


def _tables(report: Mapping[str, Any]) -> dict[str, str]:
    rows, counts, used = report["rows"], report["counts"], list(report["rows"]["train"])
    return {
        "sources": _table(
            ["source", "rows", "candidates", "licence", "description"],
            (
                [f"`{name}`", rows["train"].get(name, 0), count, _SOURCES[name]["licence"], _SOURCES[name]["text"]]
                for name, count in rows["candidates"].items()
            ),
        ),
        "counts": _table(
            ["label", "before", "candidates", "training", *(f"`{name}`" for name in used), "validation", "test"],
            (
                [
                    label,
                    counts["original"][label],
                    sum(by_label[label] for by_label in counts["candidates"].values()),
                    counts["train_total"][label],
                    *(counts["train"][name][label] for name in used),
                    counts["validation"][label],
                    counts["test"][label],
                ]
                for label in sorted(report["labels"], key=lambda label: -counts["original"][label])
            ),
        ),
        "pairs": _table(
            ["pair", "GoEmotions", "training"],
            (
                [" + ".join(pair["labels"]), pair["first_source"], pair["train"]]
                for pair in report["co_occurrence"]["largest"]
            ),
        ),
        "cleaning": _cleaning(report["cleaning"]),
        "yields": _yields(report["yields"]),
    }


def _cleaning(cleaning: Mapping[str, Mapping[str, int]]) -> str:
    if not cleaning:
        return ""
    columns = list(next(iter(cleaning.values())))
    header = ["source", *(column.replace("_", " ") for column in columns)]
    rows = ([f"`{source}`", *(counts.get(column) for column in columns)] for source, counts in cleaning.items())
    return f"Exact and near duplicates of them were removed from all sources:\n\n{_table(header, rows)}"


def _yields(yields: Mapping[str, Any]) -> str:
    if not yields.get("labels"):
        return ""
    rule = f"A label of the teacher counts from a score of {yields.get('flat_cut_off')} on."
    if yields["acceptance"] == "precision":
        rule = (
            "A label of the teacher counts from a cut-off on, chosen on the validation split: the lower end of the "
            f"Wilson interval of its precision there is to be {yields['wanted_precision']}; a label that does not "
            f"reach it has the cut-off with the highest lower end, at least {yields['least_precision']}."
        )
    polarity = " Tweets with a label that contradicts their polarity are left out." if yields["check_polarity"] else ""
    rows = ([label, *(row.get(key) for key in _YIELD_COLUMNS)] for label, row in yields["labels"].items())
    return (
        f"\n## Labels of the teacher\n\n{rule}{polarity} Of {yields['tweets']:,} tweets "
        f"{yields['accepted_tweets']:,} are candidates; {yields['contradicting_tweets']:,} have a contradicting label."
        f"\n\n{_table(['label', *_YIELD_COLUMNS.values()], rows)}\n"
    )


def _sentences(report: Mapping[str, Any]) -> dict[str, str]:
    used, copied = report["rows"]["train"], report["copied_rows"]
    licences = [f"- `{source}`: {_SOURCES[source]['licence']}." for source in used]
    if "sentiment140" in used:
        licences.append(
            "\nSentiment140 states no licence for the tweets: find out what you may do with them before you pass them "
            'on, or leave them out with `data["train"].filter(lambda row: row["source"] != "sentiment140")`.'
        )
    return {
        "copy_column": "| `copy` | counts the copies of a row from 0 (`default`, training) |\n" if copied else "",
        "human_labels": f"{report['human_label_ratio']:.1%}",
        "teachers": _teachers(report["teachers"]),
        "reason": _reason(report["limited_by"]),
        "deficits": _deficits(report["deficits"]),
        "copies": f"{copied:,} rows are copies" if copied else "No row is taken twice",
        "gaps": _gaps(report["gaps"]),
        "licences": "\n".join(licences),
        "limits": _limits(report),
    }


def _teachers(teachers: Sequence[Mapping[str, Any]]) -> str:
    if not teachers:
        return "No row has labels of a teacher."
    named = []
    for entry in teachers:
        name, revision = entry["teacher"], entry["teacher_revision"]
        link = f"[{name}](https://huggingface.co/{name})" if "/" in name else f"`{name}`, not on the Hub"
        named.append(f"{entry['rows']:,} by {link}" + (f" (revision `{revision}`)" if revision else ""))
    return f"Rows with labels of a teacher, a model: {', '.join(named)}."


def _reason(limited_by: Sequence[str]) -> str:
    if not limited_by:
        return "The target was given."
    labels = ", ".join(f"`{label}`" for label in limited_by)
    return f"It is the largest count that every label with candidates reaches: of {labels} all candidates are used."


def _deficits(deficits: Mapping[str, int]) -> str:
    lacking = [f"`{label}` {count:,}" for label, count in sorted(deficits.items(), key=lambda item: -item[1]) if count]
    return f"Texts that are lacking to it: {', '.join(lacking)}." if lacking else "No label falls short of it."


def _gaps(gaps: Mapping[str, float]) -> str:
    open_gaps = [f"`{goal}` {gap:g}" for goal, gap in gaps.items() if gap and goal != "co_occurrence"]
    proven = f"proven bounds of what is left to gain: {', '.join(open_gaps)}" if open_gaps else "proven optimal"
    return (
        f"all goals before co-occurrence: {proven}; co-occurrence: within {gaps['co_occurrence']:.1%} of the optimum."
    )


def _limits(report: Mapping[str, Any]) -> str:
    used, test = report["rows"]["train"], report["counts"]["test"]
    rarest = ", ".join(f"{label} {test[label]:,}" for label in sorted(test, key=lambda label: test[label])[:3])
    lines = [f"The rarest labels of the test split have few texts: {rarest}."]
    if report["teachers"]:
        lines.append(
            "Labels of a teacher are its opinion, with its mistakes: a model trained on them is in part distilled "
            "from it. Compare with the teacher itself."
        )
    if "sentiment140" in used:
        lines.append("Of tweets only `@names` are left out or masked, other names are not.")
    if "written" in used or "generated" in used:
        lines.append("Written and generated texts without `human_votes` have the labels that their author meant.")
    return "\n".join(f"- {line}" for line in lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return markdown_table(header, ([_formatted(value) for value in row] for row in rows)).rstrip("\n")


def _formatted(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


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
