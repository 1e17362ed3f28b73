# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.report: the numbers, and that the card and the figure show them."""

from __future__ import annotations

import itertools
import json
from io import BytesIO
from typing import Any

import numpy as np
from balanced_samples import ANGER, JOY, REVISION, make_table, sample_candidates
from huggingface_hub import DatasetCard
from PIL import Image

from hub.dataset.balancing import Pool, select_balanced
from hub.dataset.build import selected_rows
from hub.dataset.report import build_report, draw_label_counts, render_card
from trainer_ext.reports.plots import figure_png

CLEANING = {"goemotions": {"read": 40, "kept": 40}}
LABELS = ("anger", "grief", "joy", "neutral")


def make_report(*, target: int = 10, max_copies: int = 1, **numbers: Any) -> dict[str, Any]:
    """Of four labels that keep their ids among 28, so the others have no texts."""
    candidates = sample_candidates()
    pool = Pool.of(candidates, seed=0)
    selection = select_balanced(pool, target=target, tolerance=0.2, max_copies=max_copies)
    train = selected_rows(candidates, selection)
    rows = [{"text": f"test {i}", "labels": [ANGER, JOY], "split": "test"} for i in range(5)]
    evaluation = {"validation": make_table(rows[:2]), "test": make_table(rows)}
    original = pool.labels[pool.sources == 0].sum(axis=0)
    report = build_report(pool, selection, train, evaluation, numbers.pop("original", original))
    return report | {"cleaning": CLEANING, "yields": {}, "settings": {"seed": 0}} | numbers


def picked(counts: dict[str, int]) -> list[int]:
    return [counts[label] for label in LABELS]


def test_report_counts_labels_by_source() -> None:
    report = make_report()
    counts = report["counts"]
    assert picked(counts["original"]) == [11, 3, 9, 20]
    assert {source: picked(by_label) for source, by_label in counts["candidates"].items()} == {
        "goemotions": [11, 3, 9, 20],
        "written": [0, 6, 0, 0],
        "sentiment140": [0, 10, 10, 0],
    }
    # Human rows up to 12, then the target with as few others as possible.
    assert {source: picked(by_label) for source, by_label in counts["train"].items()} == {
        "goemotions": [11, 3, 9, 12],
        "written": [0, 6, 0, 0],
        "sentiment140": [0, 1, 1, 0],
    }
    assert picked(counts["train_total"]) == [11, 10, 10, 12]
    assert picked(counts["test"]) == [5, 0, 5, 0]
    assert report["rows"] == {
        "candidates": {"goemotions": 40, "written": 6, "sentiment140": 20},
        "train": {"goemotions": 32, "written": 6, "sentiment140": 2},
        "validation": 2,
        "test": 5,
    }
    assert report["deficits"]["admiration"] == 10
    assert picked(report["deficits"]) == [0, 0, 0, 0]
    assert report["ratio"] == {"before": None, "after": None}
    # The labels of goemotions and of the written text with votes, of all 43.
    assert report["human_label_ratio"] == round(36 / 43, 4)
    # Not who wrote a text that people labelled.
    assert report["teachers"] == [{"teacher": "someone/teacher", "teacher_revision": REVISION, "rows": 2}]
    assert report["prompts"] == []
    assert (report["target"], report["max_count"], report["copied_rows"]) == (10, 12, 0)
    assert json.loads(json.dumps(report)) == report


def test_report_measures_co_occurrence_against_the_first_source() -> None:
    report = make_report()["co_occurrence"]
    before, after = 3 / np.sqrt(11 * 3), 3 / np.sqrt(11 * 10)
    assert report["train"] == round((before - after) / 378, 5)
    assert report["candidates"] == round((before - 3 / np.sqrt(11 * 19)) / 378, 5)
    assert report["largest"][0] == {
        "labels": ["anger", "grief"],
        "first_source": round(before, 4),
        "train": round(after, 4),
    }


def test_report_counts_copies_and_the_original() -> None:
    original = np.arange(1, 29)
    report = make_report(target=15, max_copies=2, original=original)
    # Only of anger there are fewer than 15 rows.
    assert report["copied_rows"] == 4
    assert picked(report["counts"]["train_total"]) == [15, 15, 15, 18]
    assert (
        sum(report["rows"]["train"].values()) == 15 + 15 + 15 + 18 - report["counts"]["train"]["goemotions"]["grief"]
    )
    assert report["counts"]["original"]["anger"] == 3
    assert report["ratio"]["before"] == 28.0


# --------------------------------------------------------------------------------------------------------------- card


def test_card_has_valid_metadata() -> None:
    card = DatasetCard(render_card(make_report(), "Even emotions"))
    assert card.data.pretty_name == "Even emotions"
    assert card.data.license == ["cc-by-4.0", "apache-2.0", "other"]
    assert card.data.source_datasets == ["extended|go_emotions", "original", "extended|sentiment140"]
    assert card.data.size_categories == ["n<1K"]
    assert card.data.configs[0]["data_files"][2] == {"split": "test", "path": "test.parquet"}


def test_card_shows_the_numbers_of_the_report() -> None:
    cleaning = {"goemotions": {"read": 43410, "in_evaluation": 91, "kept": 43200}}
    rule = {"acceptance": "precision", "wanted_precision": 0.6, "least_precision": 0.35, "check_polarity": True}
    counts = {"tweets": 1234, "accepted_tweets": 567, "contradicting_tweets": 89}
    cut_off = {"value": None, "num_predicted": 0, "precision": None, "lower_bound": None, "reaches_target": False}
    yields = {**rule, **counts, "labels": {"joy": cut_off | {"reached": 1, "contradicting": 2, "accepted": 7}}}
    report = make_report(cleaning=cleaning, yields=yields)
    card = render_card(report, "Even emotions")
    assert "| grief | 3 | 19 | 10 | 3 | 6 | 1 | 0 | 0 |" in card
    assert "| `sentiment140` | 2 | 20 | none stated, for research |" in card
    teacher = f"2 by [someone/teacher](https://huggingface.co/someone/teacher) (revision `{REVISION}`)."
    assert f"Rows with labels of a teacher, a model: {teacher}" in card
    assert "People gave 83.7% of the labels" in card
    assert "The target is 10 texts for every label, at most 12. The target was given." in card
    assert "Texts that are lacking to it: `admiration` 10, `amusement` 10," in card
    assert "| source | read | in evaluation | kept |" in card
    assert "| `goemotions` | 43,410 | 91 | 43,200 |" in card
    assert (
        "is to be 0.6; a label that does not reach it has the cut-off with the highest lower end, at least 0.35."
        in card
    )
    assert "Of 1,234 tweets 567 are candidates; 89 have a contradicting label." in card
    assert "| joy | – | 0 | – | – | 1 | 2 | 7 |" in card
    assert "| `augmented` | all 40 candidates of GoEmotions, uneven as they are, and" in card
    assert 'load_dataset("Even emotions", "augmented")' in card
    assert "Sentiment140 states no licence for the tweets" in card
    assert "## Intended use\n\nTo train multi-label classifiers of emotions in short informal English" in card
    assert "demszky2020goemotions" in card
    assert "go2009twitter" in card
    assert "some-writer" not in card
    assert "| the model that gave the labels or, of a generated text, wrote it; its score for" in card
    assert "where people reviewed the row: its labels are theirs |" in card
    assert "{{ " not in card
    assert "`copy`" not in card


def test_card_of_a_repository_names_it_and_its_features() -> None:
    infos = [{"config_name": "default", "splits": [{"name": "train", "num_bytes": 9, "num_examples": 40}]}]
    report = make_report()
    report["teachers"][0]["teacher"] = "my-teacher"
    card = render_card(report, "emotions", repo_id="ann/emotions", infos=infos)
    assert DatasetCard(card).data.dataset_info == infos
    assert 'data = load_dataset("ann/emotions")' in card
    assert "2 by `my-teacher`, not on the Hub (revision" in card
    assert "## Labels of the teacher" not in card


def test_card_without_teacher_says_so() -> None:
    report = make_report()
    report["limited_by"] = ["grief"]
    report["copied_rows"] = 4
    report["teachers"] = []
    report["deficits"] = dict.fromkeys(report["deficits"], 0)
    report["gaps"] = {"deficit": 0.0, "confidence": 2.0, "co_occurrence": 0.004}
    card = render_card(report, "Even emotions")
    assert "No row has labels of a teacher." in card
    assert "distilled" not in card
    assert (
        "It is the largest count that every label with candidates reaches: of `grief` all candidates are used." in card
    )
    assert "No label falls short of it." in card
    assert "| `copy` | counts the copies of a row from 0 (`default`, training) |" in card
    assert "4 rows are copies." in card
    assert "proven bounds of what is left to gain: `confidence` 2; co-occurrence: within 0.4% of the optimum." in card


# ------------------------------------------------------------------------------------------------------------- figure


def test_figure_shows_every_label_before_and_after() -> None:
    report = make_report()
    figure = draw_label_counts(report)
    left, right = figure.axes
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names[-4:] == ["grief", "joy", "anger", "neutral"]
    assert [bar.get_width() for bar in left.containers[0]][-4:] == [3, 9, 11, 20]
    ends = np.array([[bar.get_x() + bar.get_width() for bar in bars] for bars in right.containers])
    assert ends[-1][-4:].tolist() == [10, 10, 11, 12]
    assert [text.get_text() for text in right.texts][-4:] == ["10", "10", "11", "12"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(legend) == ["goemotions", "sentiment140", "target 10", "written"]
    assert left.containers[0][0].get_facecolor() == right.containers[0][0].get_facecolor()
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in left.get_yticklabels()]
    assert not any(first.overlaps(second) for first, second in itertools.pairwise(boxes))


def test_figure_is_a_png_with_the_same_bytes_every_time() -> None:
    report = make_report()
    first = figure_png(draw_label_counts(report))
    assert first == figure_png(draw_label_counts(report))
    with Image.open(BytesIO(first)) as image:
        assert image.size[0] > 1200
        assert np.asarray(image.convert("L")).std() > 20
