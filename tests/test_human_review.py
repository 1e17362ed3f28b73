# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.human_review: export, votes, majority, agreement, and files that do not fit."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from balanced_samples import ANGER, GRIEF, JOY, make_table

from hub.dataset.human_review import export_for_review, import_reviews

TEXTS = ['He said "no",\nthen left 😢', "second", "=third, with a comma"]
CANDIDATES = make_table(
    [{"text": text, "labels": [GRIEF], "source": "generated", "prompt_id": "grief@1"} for text in TEXTS]
)


def annotate(folder: Path, name: str, labels: list[str], candidates: Any = CANDIDATES) -> Path:
    """Fill in an export as a spreadsheet program writes it: with a byte order mark."""
    export_for_review(candidates, folder / "export.csv")
    with (folder / "export.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([header, *([*row[:2], cell] for row, cell in zip(rows, labels, strict=True))])
    return folder / f"{name}.csv"


def test_export_shows_texts_and_no_labels(tmp_path: Path) -> None:
    export_for_review(CANDIDATES, tmp_path / "new" / "export.csv")
    with (tmp_path / "new" / "export.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "text", "labels"]
    assert [row[1:] for row in rows] == [[text, ""] for text in TEXTS]
    assert len({row[0] for row in rows}) == 3


def test_majority_of_the_annotators_decides(tmp_path: Path) -> None:
    files = [
        annotate(tmp_path, "ann", ["grief, Anger", "joy", "joy"]),
        annotate(tmp_path, "bob", ["anger", "grief", "grief"]),
        annotate(tmp_path, "eve", [" anger ,grief", "joy", "anger"]),
    ]
    reviewed, report = import_reviews(CANDIDATES, files)
    assert reviewed.schema == CANDIDATES.schema
    assert reviewed["text"].to_pylist() == TEXTS[:2]
    assert reviewed["labels"].to_pylist() == [sorted([ANGER, GRIEF]), [JOY]]
    assert reviewed["prompt_id"].to_pylist() == ["grief@1"] * 2
    assert reviewed["source"].to_pylist() == ["generated"] * 2
    assert json.loads(reviewed["human_votes"][0].as_py()) == {
        "annotator_1": ["anger", "grief"],
        "annotator_2": ["anger"],
        "annotator_3": ["anger", "grief"],
    }
    assert (report["annotators"], report["texts"], report["kept"]) == (["ann", "bob", "eve"], 3, 2)
    assert report["without_majority"] == 1
    assert json.loads(json.dumps(report)) == report


def test_half_is_no_majority(tmp_path: Path) -> None:
    files = [annotate(tmp_path, "ann", ["joy", "joy", "joy"]), annotate(tmp_path, "bob", ["joy", "grief", "anger"])]
    reviewed, _ = import_reviews(CANDIDATES, files)
    assert reviewed["text"].to_pylist() == TEXTS[:1]


def test_agreement_is_that_of_the_literature(tmp_path: Path) -> None:
    """Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example A: 0.095."""
    first, second = "0100000010", "1110010000"
    candidates = make_table([{"text": f"text {i}", "labels": [JOY]} for i in range(10)])
    files = [
        annotate(tmp_path, name, ["joy" if digit == "1" else "anger" for digit in digits], candidates)
        for name, digits in {"ann": first, "bob": second}.items()
    ]
    alpha = import_reviews(candidates, files)[1]["alpha"]
    assert alpha["labels"]["joy"] == alpha["labels"]["anger"] == pytest.approx(0.095, abs=5e-4)
    assert alpha["labels"]["grief"] is None
    # By hand: of 560 decisions 20 are positive, and 8 of the 280 pairs disagree.
    assert alpha["overall"] == pytest.approx(1 - (16 / 560) / (2 * 20 * 540 / (560 * 559)), abs=1e-4)


def test_full_agreement_is_one(tmp_path: Path) -> None:
    files = [annotate(tmp_path, name, ["joy", "grief, joy", "anger"]) for name in ("ann", "bob")]
    alpha = import_reviews(CANDIDATES, files)[1]["alpha"]
    assert alpha["overall"] == alpha["labels"]["joy"] == 1.0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["joy", "hapiness", "joy"], r"bob.csv, row 4: expected labels of admiration, .*, got 'hapiness'; correct it"),
        (["joy", "joy", " , "], r"bob.csv, row 5: expected at least one label, got none; fill in the cell"),
    ],
)
def test_bad_labels_name_file_and_row(tmp_path: Path, labels: list[str], message: str) -> None:
    files = [annotate(tmp_path, "ann", ["joy"] * 3), annotate(tmp_path, "bob", labels)]
    with pytest.raises(ValueError, match=message):
        import_reviews(CANDIDATES, files)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{0},second,joy", "{0}x,second,joy", r"bob.csv, row 4: expected the id of an exported text, got '\w+x'"),
        ("{0},second,joy", "{1},second,joy", r"bob.csv, row 4: expected every id once, got '\w+' again"),
        ("{0},second,joy\n", "", r"bob.csv: expected all 3 exported texts, got 2, without '\w+' \('second'\)"),
        ("{0},second,joy", "{0},second,joy,anger", r"bob.csv, row 4: expected 3 cells, got 4; quote labels"),
        ("id,text,labels", "id;text;labels", r"bob.csv, row 1: expected the columns id, text, labels, got \['id;text"),
        ("second,joy", 'second,"joy', r"bob.csv: expected well-formed CSV in UTF-8, got: "),
        ("second", "sec\udcffond", r"bob.csv: expected well-formed CSV in UTF-8, got: .*0xff"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    files = [annotate(tmp_path, "ann", ["joy"] * 3), annotate(tmp_path, "bob", ["joy"] * 3)]
    with files[1].open(newline="", encoding="utf-8-sig") as file:
        ids = [row[0] for row in csv.reader(file)]
    text = files[1].read_text(encoding="utf-8-sig")
    changed = text.replace(old.format(ids[2], ids[1]), new.format(ids[2], ids[1]))
    assert changed != text
    files[1].write_bytes(changed.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message):
        import_reviews(CANDIDATES, files)


def test_too_few_or_missing_files_are_named(tmp_path: Path) -> None:
    ann = annotate(tmp_path, "ann", ["joy"] * 3)
    with pytest.raises(ValueError, match=r"Expected the files of two or more annotators, named after them, got 1\."):
        import_reviews(CANDIDATES, [ann])
    with pytest.raises(ValueError, match="got two files of 'ann'"):
        import_reviews(CANDIDATES, [ann, tmp_path / "other" / "ann.csv"])
    with pytest.raises(FileNotFoundError, match=r"bob.csv: no such file, expected an annotator's CSV file"):
        import_reviews(CANDIDATES, [ann, tmp_path / "bob.csv"])


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [annotate(tmp_path, name, ["joy"] * 3) for name in ("ann", "bob")]
    monkeypatch.setitem(sys.modules, "krippendorff", None)
    with pytest.raises(ImportError, match=r'pip install "stacked-emotion\[data\]"'):
        import_reviews(CANDIDATES, files)
