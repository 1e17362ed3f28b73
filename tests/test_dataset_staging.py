# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.staging: files that load, all or none; a repository of them, and a wrong one is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from balanced_samples import ANGER, GRIEF, JOY, NEUTRAL, REVISION, make_table, sample_candidates
from conftest import contents

from hub.dataset.arguments import BalancedDatasetArguments
from hub.dataset.build import write_balanced_dataset
from hub.dataset.staging import stage_dataset, write_dataset_folder
from hub.validation.validate import file_problems, validate
from trainer_ext import files
from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.data.loading import load_emotion_data

FILES = ["label_counts.png", "report.json", *(f"{name}.parquet" for name in ("test", "train", "train_augmented"))]
FILES = sorted([*FILES, "README.md", "validation.parquet"])


def build(folder: Path, **settings: Any) -> Path:
    evaluation = {
        split: make_table([{"text": f"{split} {i}", "labels": [ANGER, JOY], "split": split} for i in range(size)])
        for split, size in (("validation", 2), ("test", 5))
    }
    arguments = BalancedDatasetArguments(output_dir=str(folder / "built"), tolerance=0.2, **settings)
    numbers: dict[str, Any] = {
        "original": np.arange(28),
        "cleaning": {"goemotions": {"read": 40, "kept": 40}},
        "yields": {},
    }
    write_balanced_dataset(sample_candidates(), evaluation, arguments, **numbers)
    # As the command leaves it beside them.
    (folder / "built" / "sources.json").write_text('{"train_file": "somewhere"}')
    (folder / "built" / "work").mkdir()
    return folder / "built"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built"), target=10)


def stage(source: Path, folder: Path) -> Path:
    folder.mkdir()
    stage_dataset(source, folder, repo_id="ann/emotions")
    return folder


def load(folder: Path, config: str | None, cache: Path) -> datasets.DatasetDict:
    return datasets.load_dataset(str(folder), config, cache_dir=str(cache))


def write(folder: Path, number: int = 0) -> None:
    rows = sample_candidates().take([45, 0, 65])
    evaluation = make_table([{"text": "x", "labels": [1], "split": "test"}])
    splits = {"train": rows, "validation": evaluation, "test": evaluation}
    write_dataset_folder(folder, splits, {"number": number}, {"README.md": b"# x", "a.png": b"\x89"})


def test_folder_loads_with_class_labels(tmp_path: Path) -> None:
    write(tmp_path / "out")
    loaded = load(tmp_path / "out", None, tmp_path / "cache")
    train = loaded["train"]
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 3, "validation": 1, "test": 1}
    columns = "text labels source teacher teacher_revision teacher_scores human_votes prompt_id split"
    assert train.column_names == columns.split()
    assert train.features["labels"].feature.names == list(GOEMOTIONS_LABELS)
    assert train["labels"][:] == [[GRIEF], [NEUTRAL], [GRIEF]]
    assert train["teacher_revision"][:] == [None, None, REVISION]
    assert train["teacher_scores"][2] == pytest.approx([0.95] * 28, abs=1e-3)


def test_trainer_reads_the_files(tmp_path: Path) -> None:
    write(tmp_path / "out")
    data = load_emotion_data(
        train_file=tmp_path / "out" / "train.parquet", test_file=tmp_path / "out" / "test.parquet"
    )
    assert data.label_names == list(GOEMOTIONS_LABELS)
    assert data.splits["train"]["text"][:] == ["written 5", "human 0", "tweet 19"]
    assert np.flatnonzero(data.splits["train"]["labels"][0]).tolist() == [GRIEF]


def test_same_rows_give_the_same_bytes_and_leave_other_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out)
    first = contents(out)
    (out / "work").mkdir()
    # As a kill leaves it.
    (tmp_path / ".out.partial").mkdir()
    write(out)
    assert contents(out) == first
    assert not (tmp_path / ".out.partial").exists()
    assert sorted(path.name for path in out.iterdir()) == sorted([*first, "work"])


def test_nothing_changes_when_a_file_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    write(out)
    before = contents(out)

    def full(self: Path, *arguments: Any, **keywords: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"out cannot be written \(\[Errno 28\] No space left on device\): free some"):
        write(out, number=1)
    assert contents(out) == before
    assert sorted(path.name for path in out.iterdir()) == sorted(before)


def test_killed_before_the_exchange_the_earlier_data_set_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write(out)
    before = contents(out)

    def killed(new: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "_exchange", killed)
        with pytest.raises(KeyboardInterrupt):
            write(out, number=1)
    assert contents(out) == before
    write(out, number=1)
    assert json.loads((out / "report.json").read_text()) == {"number": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_staged_folder_loads_with_both_configurations(built: Path, tmp_path: Path) -> None:
    folder = stage(built, tmp_path / "staged")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    default, augmented = (load(folder, name, tmp_path / "cache") for name in ("default", "augmented"))
    assert {split: rows.num_rows for split, rows in default.items()} == {"train": 40, "validation": 2, "test": 5}
    # All 40 human rows, 6 written ones and two tweets.
    assert {split: rows.num_rows for split, rows in augmented.items()} == {"train": 48, "validation": 2, "test": 5}
    for data in (default, augmented):
        assert data["train"].features["labels"] == datasets.List(datasets.ClassLabel(names=list(GOEMOTIONS_LABELS)))
        assert data["test"]["labels"][:] == [[ANGER, JOY]] * 5
    assert sum(GRIEF in labels for labels in default["train"]["labels"]) == 10


def test_copies_are_a_column_of_the_default_configuration(tmp_path: Path) -> None:
    folder = stage(build(tmp_path, target=15, max_copies=2), tmp_path / "staged")
    default, augmented = (load(folder, name, tmp_path / "cache") for name in ("default", "augmented"))
    assert sorted(set(default["train"]["copy"])) == [0, 1]
    assert default["test"]["copy"][:] == [None] * 5
    assert "copy" not in augmented["train"].column_names


def test_staged_bytes_are_the_same_every_time(built: Path, tmp_path: Path) -> None:
    first, second = (stage(built, tmp_path / name) for name in ("first", "second"))
    for name in FILES:
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert name == "README.md" or (first / name).read_bytes() == (built / name).read_bytes()


def test_card_names_the_repository(built: Path, tmp_path: Path) -> None:
    folder = stage(built, tmp_path / "staged")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "# emotions\n" in card
    assert 'load_dataset("ann/emotions", "augmented")' in card
    assert "# built" not in card
    assert 'load_dataset("built' not in card
    assert file_problems(folder, "dataset") == []


@pytest.mark.slow
def test_snippets_of_the_card_run(built: Path, tmp_path: Path) -> None:
    assert validate(stage(built, tmp_path / "staged"), "dataset", repo_id="ann/emotions") == []


def test_rows_that_are_not_those_of_the_card_are_noticed_by_the_loader(built: Path, tmp_path: Path) -> None:
    folder = stage(built, tmp_path / "staged")
    pq.write_table(pq.read_table(folder / "test.parquet").slice(1), folder / "test.parquet")
    with pytest.raises(datasets.exceptions.NonMatchingSplitsSizesError):
        load(folder, "default", tmp_path / "cache")


# ----------------------------------------------------------------------------------------------------------- refusals


def change_rows(file: str, change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        table = pq.read_table(folder / f"{file}.parquet")
        rows = table.to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / f"{file}.parquet")

    return changed


def change_report(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        report = json.loads((folder / "report.json").read_text())
        change(report)
        (folder / "report.json").write_text(json.dumps(report))

    return changed


def cut(folder: Path) -> None:
    content = (folder / "test.parquet").read_bytes()
    (folder / "test.parquet").write_bytes(content[: len(content) // 2])


def without_features(folder: Path) -> None:
    pq.write_table(pa.table({"text": ["x"], "labels": [[1]]}), folder / "test.parquet")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_rows("train", lambda rows: rows.pop()), r"train\.parquet has 39 rows, report\.json says 40"),
        (change_rows("train_augmented", lambda rows: rows.pop()), r"augmented\.parquet has 47 rows, .* says 48"),
        (
            change_rows("test", lambda rows: rows[0].update(labels=[GRIEF])),
            r"test\.parquet has other counts per label",
        ),
        (
            change_rows("train", lambda rows: rows[0].update(text="TEST  3")),
            r"train\.parquet shares 1 texts with validation or test, such as 'TEST 3'",
        ),
        (
            change_rows("train_augmented", lambda rows: rows[0].update(text="validation 1")),
            r"train_augmented\.parquet shares 1 texts",
        ),
        (
            change_rows("train", lambda rows: rows[0].update(teacher="/data/teacher")),
            "names the teacher /data/teacher,",
        ),
        (change_report(lambda report: report["teachers"][0].update(teacher="./out/t")), r"names the teacher \./out/t"),
        (change_report(lambda report: report["labels"].reverse()), r"has other labels than report\.json"),
        (change_report(lambda report: report.pop("rows")), r"report\.json is not the report .* \(it has no rows\)"),
        (lambda folder: (folder / "report.json").write_text("{"), r"report\.json is not the report of a data set"),
        (cut, r"test\.parquet does not hold texts with class labels"),
        (without_features, r"test\.parquet does not hold texts with class labels"),
    ],
)
def test_folder_that_its_report_does_not_describe_is_refused(
    built: Path, tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    source = shutil.copytree(built, tmp_path / "source")
    spoil(source)
    with pytest.raises(ValueError, match=message) as raised:
        stage(source, tmp_path / "staged")
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "staged").iterdir()) == []


def test_incomplete_folder_is_refused(built: Path, tmp_path: Path) -> None:
    source = shutil.copytree(built, tmp_path / "source")
    (source / "label_counts.png").unlink()
    (source / "train_augmented.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no label_counts\.png, train_augmented\.parquet: expected the"):
        stage(source, tmp_path / "staged")
