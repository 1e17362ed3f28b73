# SPDX-License-Identifier: Apache-2.0
"""The data card, made from the report; no number in it is typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

_TEMPLATE = Template((Path(__file__).parent / "card_template.md").read_text(encoding="utf-8"))
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


@dataclass(frozen=True)
class _Source:
    licence: str
    licence_id: str
    text: str
    hub_ids: tuple[str, ...] = ("original",)
    citation: str = ""


_SOURCES = {
    "goemotions": _Source(
        "CC BY 4.0",
        "cc-by-4.0",
        "[GoEmotions](https://github.com/google-research/google-research/tree/master/goemotions) (Demszky et al., "
        "2020), train split: Reddit comments, labelled by people",
        ("extended|go_emotions",),
        """@inproceedings{demszky2020goemotions,
  title = {{GoEmotions}: A Dataset of Fine-Grained Emotions},
  author = {Demszky, Dorottya and Movshovitz-Attias, Dana and Ko, Jeongwoo and Cowen, Alan and Nemade, Gaurav
    and Ravi, Sujith},
  booktitle = {Proceedings of the 58th Annual Meeting of the Association for Computational Linguistics},
  year = {2020}
}""",
    ),
    "written": _Source(
        "Apache-2.0, except for files that whoever built it added",
        "apache-2.0",
        "short texts with their labels, written with a language model for this purpose",
    ),
    "generated": _Source("as the model's terms say", "other", "texts of a chat model that was asked for one emotion"),
    "sentiment140": _Source(
        "none stated, for research",
        "other",
        "[Sentiment140](http://help.sentiment140.com) (Go, Bhayani and Huang, 2009): tweets, labelled by the teacher",
        ("extended|sentiment140",),
        """@techreport{go2009twitter,
  title = {Twitter Sentiment Classification using Distant Supervision},
  author = {Go, Alec and Bhayani, Richa and Huang, Lei},
  institution = {Stanford University},
  year = {2009}
}""",
    ),
}


def render_card(
    report: Mapping[str, Any],
    name: str,
    *,
    repo_id: str | None = None,
    infos: Sequence[Mapping[str, Any]] = (),
) -> str:
    """
    The text of a data set repository's README.md.

    Args:
        report (`Mapping[str, Any]`): Of [`build_report`].
        name (`str`): The data set's name.
        repo_id (`str`, *optional*): Where the data set is on the Hub; by default the snippets load a folder `name`.
        infos (`Sequence[Mapping[str, Any]]`, *optional*): Features and splits of the configurations (`dataset_info`).
    """
    rows, used = report["rows"], list(report["rows"]["train"])
    return _TEMPLATE.substitute(
        metadata=yaml.safe_dump(
            _metadata(report, name) | ({"dataset_info": list(infos)} if infos else {}),
            sort_keys=False,
            allow_unicode=True,
        ).strip(),
        name=name,
        repo_id=repo_id or name,
        labels=", ".join(f"`{label}`" for label in report["labels"]),
        num_labels=len(report["labels"]),
        num_train=_cell(sum(rows["train"].values())),
        num_validation=_cell(rows["validation"]),
        num_test=_cell(rows["test"]),
        num_first=_cell(next(iter(rows["candidates"].values()))),
        ratio_before=_cell(report["ratio"]["before"]),
        ratio_after=_cell(report["ratio"]["after"]),
        copy_column="| `copy` | counts the copies of a row from 0 (`default`, training) |\n"
        if report["copied_rows"]
        else "",
        sources=_rows(
            [f"`{source}`", rows["train"].get(source, 0), count, _SOURCES[source].licence, _SOURCES[source].text]
            for source, count in rows["candidates"].items()
        ),
        human_labels=f"{report['human_label_ratio']:.1%}",
        teachers=_teachers(report["teachers"]),
        target=_cell(report["target"]),
        max_count=_cell(report["max_count"]),
        reason=_reason(report["limited_by"]),
        deficits=_deficits(report["deficits"]),
        copies=f"{report['copied_rows']:,} rows are copies" if report["copied_rows"] else "No row is taken twice",
        gaps=_gaps(report["gaps"]),
        source_names=" | ".join(f"`{source}`" for source in used),
        source_rules="---|" * len(used),
        counts=_rows(_label_rows(report, used)),
        co_occurrence=_cell(report["co_occurrence"]["train"]),
        co_occurrence_candidates=_cell(report["co_occurrence"]["candidates"]),
        mean_cosine=_cell(report["co_occurrence"]["mean_cosine"]),
        pairs=_rows(
            [" + ".join(pair["labels"]), pair["first_source"], pair["train"]]
            for pair in report["co_occurrence"]["largest"]
        ),
        cleaning=_cleaning(report["cleaning"]),
        yields=_yields(report["yields"]),
        licences=_licences(used),
        limits=_limits(report),
        citations="\n\n".join(filter(None, (_SOURCES[source].citation for source in used))),
    )


def _metadata(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    used = [_SOURCES[source] for source in report["rows"]["train"]]
    num_rows = sum(report["rows"]["train"].values()) + report["rows"]["validation"] + report["rows"]["test"]
    return {
        "pretty_name": name,
        "language": ["en"],
        "license": list(dict.fromkeys(source.licence_id for source in used)),
        "task_categories": ["text-classification"],
        "task_ids": ["multi-label-classification"],
        "tags": ["emotion"],
        "size_categories": [next((size for limit, size in _SIZES if num_rows < limit), "n>1M")],
        "source_datasets": list(dict.fromkeys(hub_id for source in used for hub_id in source.hub_ids)),
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


def _licences(used: Sequence[str]) -> str:
    lines = [f"- `{source}`: {_SOURCES[source].licence}." for source in used]
    if "sentiment140" in used:
        lines.append(
            "\nSentiment140 states no licence for the tweets: find out what you may do with them before you pass them "
            'on, or leave them out with `data["train"].filter(lambda row: row["source"] != "sentiment140")`.'
        )
    return "\n".join(lines)


def _teachers(teachers: Sequence[Mapping[str, Any]]) -> str:
    if not teachers:
        return "No row has labels of a teacher."
    named = (f"{entry['rows']:,} by {_linked(entry['teacher'])}{_revision(entry)}" for entry in teachers)
    return f"Rows with labels of a teacher, a model: {', '.join(named)}."


def _linked(teacher: str) -> str:
    return f"[{teacher}](https://huggingface.co/{teacher})" if "/" in teacher else f"`{teacher}`, not on the Hub"


def _revision(entry: Mapping[str, Any]) -> str:
    return f" (revision `{entry['teacher_revision']}`)" if entry["teacher_revision"] else ""


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


def _label_rows(report: Mapping[str, Any], used: Sequence[str]) -> Iterable[list[Any]]:
    counts = report["counts"]
    for label in sorted(report["labels"], key=lambda label: -counts["original"][label]):
        yield [
            label,
            counts["original"][label],
            sum(by_label[label] for by_label in counts["candidates"].values()),
            counts["train_total"][label],
            *(counts["train"][source][label] for source in used),
            counts["validation"][label],
            counts["test"][label],
        ]


def _cleaning(cleaning: Mapping[str, Mapping[str, int]]) -> str:
    if not cleaning:
        return ""
    columns = list(next(iter(cleaning.values())))
    table = _table("source", columns, {f"`{source}`": counts for source, counts in cleaning.items()})
    return f"Exact and near duplicates of them were removed from all sources:\n\n{table}"


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
    header = [["label", *_YIELD_COLUMNS.values()], ["---"] * (len(_YIELD_COLUMNS) + 1)]
    rows = ([label, *(row.get(key) for key in _YIELD_COLUMNS)] for label, row in yields["labels"].items())
    return (
        f"\n## Labels of the teacher\n\n{rule}{polarity} Of {yields['tweets']:,} tweets "
        f"{yields['accepted_tweets']:,} are candidates; {yields['contradicting_tweets']:,} have a contradicting label."
        f"\n\n{_rows([*header, *rows])}\n"
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


def _table(first: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    header = [[first, *(column.replace("_", " ") for column in columns)], ["---"] * (len(columns) + 1)]
    return _rows([*header, *([name, *(row.get(column) for column in columns)] for name, row in rows.items())])


def _rows(rows: Iterable[Sequence[Any]]) -> str:
    return "\n".join("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
