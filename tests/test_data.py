# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data: all layouts read to one matrix, all broken files name file, row and column."""

from __future__ import annotations

import csv
import gzip
import json
import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer_ext.data import (
    GOEMOTIONS_LABELS,
    DataError,
    EmotionData,
    iterative_stratification,
    load_emotion_data,
    read_file,
)

LABELS = ["anger", "joy", "sadness"]
TEXTS = ["so glad, at last", 'he said "no"', "أنا حزين 😢", "nothing"]
MATRIX = [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
NAMES = [["joy"], ["anger", "sadness"], ["sadness"], []]
IDS = [[1], [0, 2], [2], []]
COLUMNS_CSV = (
    "id,text,anger,joy,sadness\n"
    '1,"so glad, at last",0,1,0\n'
    '2,"he said ""no""",1,0,1\n'
    "3,أنا حزين 😢,0,0,1\n"
    "4,nothing,0,0,0\n"
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def write_jsonl(folder: Path, name: str, **columns: list[Any]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return write(folder, name, "".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(folder: Path, name: str, **columns: list[Any] | pa.Array) -> Path:
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def check(data: datasets.Dataset, texts: list[str] = TEXTS, labels: list[list[float]] = MATRIX) -> None:
    assert data.column_names == ["text", "labels"]
    assert data.features["text"] == datasets.Value("string")
    assert data.features["labels"].feature == datasets.Value("float32")
    assert list(data["text"]) == texts
    assert list(data["labels"]) == labels


def message(path: Path, place: str, *parts: str) -> str:
    """Return the pattern of a one-line message that starts with file and place and holds the parts in order."""
    return "^" + re.escape(f"{path}{place}: ") + "".join(f".*{re.escape(part)}" for part in parts) + "[^\n]*$"


# --- one 0/1 column per label ---


@pytest.mark.parametrize("content", [COLUMNS_CSV, "\ufeff" + COLUMNS_CSV, COLUMNS_CSV.replace("\n", "\r\n")])
def test_csv_with_label_columns(tmp_path: Path, content: str) -> None:
    data, names = read_file(write(tmp_path, "a.csv", content))
    assert names == LABELS
    check(data)


def test_gzip_is_read(tmp_path: Path) -> None:
    check(read_file(write(tmp_path, "a.csv.gz", gzip.compress(COLUMNS_CSV.encode())))[0])


@pytest.mark.parametrize(("zero", "one"), [("False", "True"), ("0.0", "1.0"), (" 0", "1 "), ("false", "TRUE")])
def test_spellings_of_zero_and_one(tmp_path: Path, zero: str, one: str) -> None:
    content = f"text,anger,joy\na,{zero},{one}\nb,{one},{zero}\n"
    data, names = read_file(write(tmp_path, "a.csv", content))
    assert names == ["anger", "joy"]
    check(data, ["a", "b"], [[0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize("kind", [int, float, bool])
def test_label_columns_in_jsonl_and_parquet(tmp_path: Path, kind: type) -> None:
    columns = {name: [kind(row[i]) for row in MATRIX] for i, name in enumerate(LABELS)}
    for path in (
        write_jsonl(tmp_path, "a.jsonl", tweet_id=[1, 2, 3, 4], text=TEXTS, **columns),
        write_jsonl(tmp_path, "a.json", text=TEXTS, **columns),
        write_parquet(tmp_path, "a.parquet", tweet_id=[1, 2, 3, 4], text=TEXTS, **columns),
    ):
        data, names = read_file(path)
        assert names == LABELS
        check(data)


def test_categories_in_parquet(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path,
        "a.parquet",
        text=pa.array(["a", "b", "a"]).dictionary_encode(),
        label=pa.array(["joy", "fear", "joy"]).dictionary_encode(),
    )
    data, names = read_file(path)
    assert names == ["fear", "joy"]
    check(data, ["a", "b", "a"], [[0, 1], [1, 0], [0, 1]])


def test_label_names_choose_and_order_columns(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,anger,note,joy\na,0,hm,1\nb,1,,0\n")
    data, names = read_file(path, label_names=["joy", "anger"])
    assert names == ["joy", "anger"]
    check(data, ["a", "b"], [[1.0, 0.0], [0.0, 1.0]])
    check(read_file(path, label_names=["joy"])[0], ["a", "b"], [[1.0], [0.0]])


def test_semeval_2018_file_keeps_quotes(tmp_path: Path) -> None:
    content = 'ID\tTweet\tanger\tjoy\n2018-1\t"Worry is a down payment\t0\t1\n2018-2\t"whole"\t1\t0\n'
    for name in ("E-c-En-train.txt", "a.tsv"):
        data, names = read_file(write(tmp_path, name, content))
        assert names == ["anger", "joy"]
        check(data, ['"Worry is a down payment', '"whole"'], [[0.0, 1.0], [1.0, 0.0]])


def test_tsv_with_quoted_fields(tmp_path: Path) -> None:
    content = 'text\tjoy\n"a\tb ""c"""\t1\n"two\nlines"\t0\nit\'s 5" long\t1\n'
    check(
        read_file(write(tmp_path, "a.tsv", content))[0], ['a\tb "c"', "two\nlines", "it's 5\" long"], [[1], [0], [1]]
    )


def test_tsv_with_plain_quotes(tmp_path: Path) -> None:
    content = 'text\tjoy\n"Worry" he said\t1\n"open\t0\nend"\t1\n'
    check(read_file(write(tmp_path, "a.tsv", content))[0], ['"Worry" he said', '"open', 'end"'], [[1], [0], [1]])


def test_text_column_is_found_in_order_and_case_insensitively(tmp_path: Path) -> None:
    check(read_file(write(tmp_path, "a.csv", "Content,joy\na,1\n"))[0], ["a"], [[1.0]])
    path = write(tmp_path, "b.csv", "content,TEXT,joy\nc,t,1\n")
    check(read_file(path, label_names=["joy"])[0], ["t"], [[1.0]])
    check(read_file(path, text_column="content", label_names=["joy"])[0], ["c"], [[1.0]])


# --- one column of names ---


@pytest.mark.parametrize(
    "cells",
    [
        ["['joy']", "['anger', 'sadness']", '["sadness"]', "[]"],
        ["joy", "anger, sadness", "sadness", ""],
        ['["joy"]', '["anger", "sadness"]', " [ 'sadness' ]", " "],
    ],
)
def test_column_of_names_in_strings(tmp_path: Path, cells: list[str]) -> None:
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *zip(TEXTS, cells, strict=True)])
    data, names = read_file(tmp_path / "a.csv")
    assert names == LABELS
    check(data)


@pytest.mark.parametrize("column", ["labels", "Emotions", "feeling"])
def test_column_of_name_lists(tmp_path: Path, column: str) -> None:
    for path in (
        write_jsonl(tmp_path, "a.jsonl", text=TEXTS, **{column: NAMES}),
        write_parquet(tmp_path, "a.parquet", text=TEXTS, **{column: NAMES}),
    ):
        data, names = read_file(path)
        assert names == LABELS
        check(data)
    data, names = read_file(path, label_names=["sadness", "fear", "joy", "anger"])
    assert names == ["sadness", "fear", "joy", "anger"]
    assert data[1]["labels"] == [1.0, 0.0, 0.0, 1.0]


def test_label_column_is_chosen(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=TEXTS, mood=NAMES, note=["x", "y", "z", "w"])
    check(read_file(path, label_column="mood")[0])


# --- one column of ids or 0/1 vectors ---


@pytest.mark.parametrize("column", ["labels", "label_ids", "mood"])
def test_column_of_ids(tmp_path: Path, column: str) -> None:
    joined = [",".join(map(str, row)) for row in IDS]
    for values in (IDS, joined, [str(row) for row in IDS]):
        data, names = read_file(write_jsonl(tmp_path, "a.jsonl", text=TEXTS, **{column: values}), label_names=LABELS)
        assert names == LABELS
        check(data)


def test_single_ids(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=["a", "b"], label=[2, 0])
    check(read_file(path, label_names=LABELS)[0], ["a", "b"], [[0, 0, 1], [1, 0, 0]])


def test_ids_with_class_names_in_the_features(tmp_path: Path) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.Sequence(datasets.ClassLabel(names=LABELS))}
    )
    datasets.Dataset.from_dict({"text": TEXTS, "labels": IDS}, features=features).to_parquet(tmp_path / "a.parquet")
    data, names = read_file(tmp_path / "a.parquet")
    assert names == LABELS
    check(data)
    data, names = read_file(tmp_path / "a.parquet", label_names=["sadness", "joy", "anger"])
    check(data, TEXTS, [row[::-1] for row in MATRIX])


def test_own_format_is_read_back(tmp_path: Path) -> None:
    data, _ = read_file(write(tmp_path, "a.csv", COLUMNS_CSV))
    data.to_parquet(tmp_path / "b.parquet")
    check(read_file(tmp_path / "b.parquet", label_names=LABELS)[0])


def test_vectors_of_integers(tmp_path: Path) -> None:
    vectors = [[int(value) for value in row] for row in MATRIX]
    check(read_file(write_jsonl(tmp_path, "a.jsonl", text=TEXTS, labels=vectors), label_names=LABELS)[0])
    path = write_jsonl(tmp_path, "b.jsonl", text=["a", "b"], labels=[[0, 1], [1, 0]])
    check(read_file(path, label_names=["anger", "joy"])[0], ["a", "b"], [[0.0, 1.0], [1.0, 0.0]])


def test_headerless_goemotions_file(tmp_path: Path) -> None:
    content = 'I said "hi\t1\tabc\n"quoted"\t0,2\tdef\n2 3\t2\tghi\n'
    path = write(tmp_path, "a.tsv", content)
    names_file = write(tmp_path, "names.txt", "anger\r\njoy\r\nsadness\r\n\r\n")
    for label_names in (LABELS, names_file, str(names_file)):
        data, names = read_file(path, label_names=label_names)
        assert names == LABELS
        check(data, ['I said "hi', '"quoted"', "2 3"], [[0, 1, 0], [1, 0, 1], [0, 0, 1]])


def test_goemotions_names_are_known_when_all_28_ids_occur(tmp_path: Path) -> None:
    train = write(tmp_path, "train.tsv", "".join(f"t{i}\t{i}\tid{i}\n" for i in range(28)))
    test = write(tmp_path, "test.tsv", "grief!\t16,27\tx\n")
    result = load_emotion_data(train_file=train, test_file=test)
    assert result.label_names == list(GOEMOTIONS_LABELS)
    assert len(set(GOEMOTIONS_LABELS)) == 28
    assert list(result.splits["train"]["labels"]) == np.eye(28).tolist()
    row = result.splits["test"][0]["labels"]
    assert [GOEMOTIONS_LABELS[i] for i in np.flatnonzero(row)] == ["grief", "neutral"]


# --- texts ---


def test_texts_are_kept_exactly(tmp_path: Path) -> None:
    texts = ["null", "NA", "nan", "None", "", " padded ", "1"]
    path = write(tmp_path, "a.csv", "text,joy\n" + "".join(f"{text},1\n" for text in texts))
    check(read_file(path)[0], texts, [[1.0]] * 7)


def test_lone_surrogates_are_replaced_and_pairs_and_nul_kept(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", r'{"text": "a\ud83d b\u0000 \ud83d\ude00", "joy": 1}' + "\n")
    check(read_file(path)[0], ["a\ufffd b\x00 😀"], [[1.0]])
    path = write(tmp_path, "b.jsonl", r'{"text": "a", "labels": ["\ud83d"]}' + "\n")
    assert read_file(path)[1] == ["\ufffd"]


# --- splits ---


def test_splits_share_the_labels_of_train(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", COLUMNS_CSV)
    validation = write(tmp_path, "validation.csv", "sadness,text,joy,anger\n1,a,0,0\n")
    test = write_jsonl(tmp_path, "test.jsonl", text=["b"], labels=[["anger"]])
    result = load_emotion_data(train_file=train, validation_file=validation, test_file=test)
    assert isinstance(result, EmotionData)
    assert result.label_names == LABELS
    assert list(result.splits) == ["train", "validation", "test"]
    check(result.splits["train"])
    check(result.splits["validation"], ["a"], [[0.0, 0.0, 1.0]])
    check(result.splits["test"], ["b"], [[1.0, 0.0, 0.0]])
    assert list(load_emotion_data(train_file=train).splits) == ["train"]


def test_label_that_train_lacks(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path, "train.jsonl", text=TEXTS, labels=NAMES)
    test = write_jsonl(tmp_path, "test.jsonl", text=["a", "b"], labels=[["joy"], ["angre"]])
    expected = message(test, ", row 2, column 'labels'", "'angre'", f"the labels of {train}", "did you mean 'anger'?")
    with pytest.raises(DataError, match=expected):
        load_emotion_data(train_file=train, test_file=test)


def test_label_column_that_train_lacks(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", "text,joy\na,1\n")
    test = write(tmp_path, "test.csv", "text,joy,fear\na,1,0\n")
    with pytest.raises(DataError, match=message(test, ", row 1, column 'fear'", "'fear'", f"the labels of {train}")):
        load_emotion_data(train_file=train, test_file=test)
    assert load_emotion_data(train_file=train, test_file=test, label_names=["joy"]).label_names == ["joy"]


def test_label_column_that_only_train_has(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", COLUMNS_CSV)
    test = write(tmp_path, "test.csv", "text,anger,joy\na,1,0\n")
    expected = message(test, ", row 1, column 'sadness'", "no such column", "columns present: 'text', 'anger', 'joy'")
    with pytest.raises(DataError, match=expected):
        load_emotion_data(train_file=train, test_file=test)


def naive_stratification(labels: np.ndarray, ratios: list[float], seed: int) -> list[int]:
    """Deal out one row at a time as Sechidis et al. (2011) write it, recounting everything at each step."""
    rng = np.random.default_rng(seed)
    num_rows, num_labels = labels.shape
    chosen = [-1] * num_rows
    totals = labels.sum(axis=0)
    while -1 in chosen:
        left = [row for row in range(num_rows) if chosen[row] == -1]
        counts = {label: sum(labels[row, label] for row in left) for label in range(num_labels)}
        counts = {label: count for label, count in counts.items() if count > 0}
        label = min(counts, key=lambda label: counts[label]) if counts else None
        for row in rng.permutation([row for row in left if label is None or labels[row, label]]):
            sizes = [ratio * num_rows - chosen.count(subset) for subset, ratio in enumerate(ratios)]
            wants = list(sizes)
            if label is not None:
                for subset, ratio in enumerate(ratios):
                    members = [i for i in range(num_rows) if chosen[i] == subset]
                    wants[subset] = ratio * totals[label] - labels[members, label].sum()
            chosen[row] = max(range(len(ratios)), key=lambda subset: (wants[subset], sizes[subset]))
    return chosen


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stratification_matches_the_naive_algorithm(seed: int) -> None:
    # Ratios and counts are exact in binary, so both orders of subtraction give the same ties.
    labels = (np.random.default_rng(seed).random((60, 5)) < [0.5, 0.3, 0.1, 0.1, 0.03]).astype(int)
    expected = naive_stratification(labels, [0.5, 0.25, 0.25], seed)
    assert iterative_stratification(labels, [0.5, 0.25, 0.25], seed).tolist() == expected


def test_carved_splits_keep_frequencies_and_rows(tmp_path: Path) -> None:
    labels = np.random.default_rng(7).random((2000, 4)) < [0.5, 0.2, 0.05, 0.01]
    vectors = labels.astype(float).tolist()
    path = write_jsonl(tmp_path, "a.jsonl", text=[f"t{i}" for i in range(2000)], labels=vectors)
    kwargs: dict[str, Any] = {"label_names": ["a", "b", "c", "d"], "validation_ratio": 0.1, "test_ratio": 0.2}
    result = load_emotion_data(train_file=path, seed=3, **kwargs)
    assert list(result.splits) == ["train", "validation", "test"]
    counts = {split: np.sum(data["labels"], axis=0) for split, data in result.splits.items()}
    for split, ratio in {"train": 0.7, "validation": 0.1, "test": 0.2}.items():
        assert np.abs(counts[split] - ratio * labels.sum(axis=0)).max() < 3
        rows = [int(text[1:]) for text in result.splits[split]["text"]]
        assert rows == sorted(rows)
        assert list(result.splits[split]["labels"]) == [vectors[row] for row in rows]
    texts = [text for data in result.splits.values() for text in data["text"]]
    assert sorted(texts) == sorted(f"t{i}" for i in range(2000))
    again = load_emotion_data(train_file=path, seed=3, **kwargs)
    assert list(again.splits["test"]["text"]) == list(result.splits["test"]["text"])
    other = load_emotion_data(train_file=path, seed=4, **kwargs)
    assert list(other.splits["test"]["text"]) != list(result.splits["test"]["text"])


def test_ratio_leaves_a_given_split_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", COLUMNS_CSV)
    result = load_emotion_data(train_file=path, validation_file=path, validation_ratio=0.25, test_ratio=0.25)
    check(result.splits["validation"])
    assert {split: len(data) for split, data in result.splits.items()} == {"train": 3, "validation": 4, "test": 1}


@pytest.mark.parametrize(("validation_ratio", "test_ratio"), [(-0.1, 0.0), (0.5, 0.5), (float("nan"), 0.0)])
def test_ratios_out_of_range(tmp_path: Path, validation_ratio: float, test_ratio: float) -> None:
    path = write(tmp_path, "a.csv", COLUMNS_CSV)
    with pytest.raises(DataError, match=r"^validation_ratio \S+ and test_ratio \S+: expected ratios of at least 0"):
        load_emotion_data(train_file=path, validation_ratio=validation_ratio, test_ratio=test_ratio)


def test_ratio_too_small_for_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", COLUMNS_CSV)
    with pytest.raises(DataError, match=message(path, "", "4 rows leave none for test at a ratio of 0.01")):
        load_emotion_data(train_file=path, test_ratio=0.01)


# --- Hub ---


def hub_data() -> datasets.DatasetDict:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "labels": datasets.Sequence(datasets.ClassLabel(names=LABELS)),
            "id": datasets.Value("string"),
        }
    )
    columns = {"text": TEXTS, "labels": IDS, "id": ["a", "b", "c", "d"]}
    data = datasets.Dataset.from_dict(columns, features=features)
    return datasets.DatasetDict({"train": data.select([3, 2, 1, 0]), "validation": data, "dev": data.select([0])})


def test_hub_dataset_with_class_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []

    def load(name: str, config: str | None, *, revision: str | None) -> datasets.DatasetDict:
        calls.append((name, config, revision))
        return hub_data()

    monkeypatch.setattr(datasets, "load_dataset", load)
    result = load_emotion_data(dataset_name="org/emo", dataset_config="simplified", dataset_revision="v1")
    assert calls == [("org/emo", "simplified", "v1")]
    assert result.label_names == LABELS
    assert list(result.splits) == ["train", "validation"]
    check(result.splits["train"], TEXTS[::-1], MATRIX[::-1])
    check(result.splits["validation"])
    result = load_emotion_data(dataset_name="org/emo", validation_split="dev", test_ratio=0.25)
    assert {split: len(data) for split, data in result.splits.items()} == {"train": 3, "validation": 1, "test": 1}


def test_hub_split_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: hub_data())
    pattern = r"^org/emo: has no split 'eval', expected it as test_split; name one of: 'train', 'validation', 'dev'$"
    with pytest.raises(DataError, match=pattern):
        load_emotion_data(dataset_name="org/emo", test_split="eval")


def test_hub_errors_name_split_and_row(monkeypatch: pytest.MonkeyPatch) -> None:
    data = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"Tweet": ["a", None], "joy": [True, False]})})
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: data)
    pattern = r"^org/emo \(c\), split 'train', row 2, column 'Tweet': expected a text, got null"
    with pytest.raises(DataError, match=pattern):
        load_emotion_data(dataset_name="org/emo", dataset_config="c")


def test_local_folder_as_hub_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "semeval"
    folder.mkdir()
    columns = {name: [bool(row[i]) for row in MATRIX] for i, name in enumerate(LABELS)}
    for split in ("train", "validation", "test"):
        write_parquet(folder, f"{split}-00000-of-00001.parquet", ID=["1", "2", "3", "4"], Tweet=TEXTS, **columns)
    result = load_emotion_data(dataset_name=str(folder))
    assert result.label_names == LABELS
    assert list(result.splits) == ["train", "validation", "test"]
    check(result.splits["test"])


# --- errors: arguments ---


def test_exactly_one_source(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", COLUMNS_CSV)
    with pytest.raises(DataError, match=r"^dataset_name and train_file are both given, expected one source"):
        load_emotion_data(dataset_name="org/emo", train_file=path)
    for validation_file in (None, path):
        with pytest.raises(DataError, match=r"^neither train_file nor dataset_name is given, expected one of them"):
            load_emotion_data(validation_file=validation_file)


@pytest.mark.parametrize(
    ("label_names", "pattern"),
    [
        (["joy", "fear", "joy"], "^label_names: label 'joy' occurs twice, expected different labels"),
        ([], "^label_names: expected at least one label, got none"),
        (["joy", True], "^label_names: expected names, got True"),
        (["joy", " "], "^label_names: expected names, got ' '"),
        ("nowhere.txt", "^label_names 'nowhere.txt': is no file; give label_names as a list, or as the path"),
    ],
)
def test_wrong_label_names(tmp_path: Path, label_names: Any, pattern: str) -> None:
    with pytest.raises(DataError, match=pattern):
        read_file(write(tmp_path, "a.csv", COLUMNS_CSV), label_names=label_names)


def test_duplicate_in_a_file_of_label_names(tmp_path: Path) -> None:
    names = write(tmp_path, "names.txt", "joy\njoy\n")
    with pytest.raises(DataError, match=message(names, "", "label 'joy' occurs twice")):
        read_file(write(tmp_path, "a.csv", COLUMNS_CSV), label_names=names)


# --- errors: files ---


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message(tmp_path / "a.csv", "", "no such file; correct the path")):
        read_file(tmp_path / "a.csv")
    with pytest.raises(DataError, match=message(tmp_path, "", "is a folder, expected a file")):
        read_file(tmp_path)


NEWLINE_CSV = 'text,joy\n"one\ntwo\r\nthree",1\n\n'


@pytest.mark.parametrize(
    ("name", "content", "place", "parts"),
    [
        ("a.xlsx", "x", "", ["expected a file in .csv, .tsv, .txt, .jsonl, .json", "got '.xlsx'"]),
        ("a.csv", "", "", ["the file is empty"]),
        ("a.jsonl", "\ufeff\n \n", "", ["the file is empty"]),
        ("a.csv", "text,joy\n\n", ", row 1", ["has a header but no rows"]),
        ("a.tsv", "\ntext\tjoy\n", ", row 2", ["has a header but no rows"]),
        ("a.csv", b"text,joy\nok,1\ncaf\xe9,0\n", ", row 3", ["UTF-8, got byte 0xe9 at offset 17; save the file as"]),
        ("a.csv", b"\xef\xbb\xbftext,joy\n\xff,1\n", ", row 2", ["got byte 0xff at offset 12"]),
        ("a.csv.gz", "text,joy\n", "", ["expected gzip", "compress the file again"]),
        ("a.parquet", "text,joy\na,1\n", "", ["expected a Parquet file"]),
        ("a.csv", NEWLINE_CSV + "a,1,0\n", ", row 6", ["expected 2 fields, got 3"]),
        ("a.csv", NEWLINE_CSV + "a\n", ", row 6", ["expected 2 fields, got 1"]),
        ("a.csv", NEWLINE_CSV + 'b,1\n"open,1\nc,0\n', ", row 7", ["well-formed CSV", "close every quote"]),
        ("a.csv", 'text,joy\na,1\n"b" c,1\n', ", row 3", ["well-formed CSV"]),
        ("a.tsv", "text\tjoy\r\na\t1\r\nb\r\n", ", row 3", ["expected 2 fields, got 1"]),
        ("a.tsv", "a\t1\tx\nb\t1,2\n", ", row 2", ["expected 3 fields, got 2"]),
        ("a.csv", "text,joy,fear,joy\na,1,0,1\n", ", row 1, column 'joy'", ["the column occurs twice"]),
        ("a.jsonl", '{"text": "a", "joy": 1}\n\n{"text": "b", \n', ", row 3", ["one JSON object", "at character"]),
        ("a.jsonl", '{"text": "a", "joy": 1}\n[1]\n', ", row 2", ["expected one JSON object per line, got '[1]'"]),
        ("a.jsonl", '{"text": "a", "joy": 1, "joy": 0}\n', ", row 1", ["key 'joy' occurs twice"]),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: str | bytes, place: str, parts: list[str]) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(DataError, match=message(path, place, *parts)):
        read_file(path)


def test_field_that_swallows_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,joy\na,1\n"b,1\n' + "some text,1\n" * 20000)
    with pytest.raises(DataError, match=message(path, ", row 3", "close every quote")):
        read_file(path)


def test_parquet_without_rows_and_with_a_duplicated_column(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, "a.parquet", text=pa.array([], pa.string()), joy=pa.array([], pa.int8()))
    with pytest.raises(DataError, match=message(path, "", "has columns but no rows")):
        read_file(path)
    pq.write_table(pa.table([pa.array(["a"]), pa.array([1]), pa.array([0])], names=["text", "joy", "joy"]), path)
    with pytest.raises(DataError, match=message(path, ", column 'joy'", "the column occurs twice")):
        read_file(path)


# --- errors: columns and cells ---


@pytest.mark.parametrize(
    ("content", "kwargs", "place", "parts"),
    [
        ("a,joy\nx,1\n", {}, ", row 1", ["no text column, expected one of text, tweet", "present: 'a', 'joy'"]),
        ("text,joy\nx,1\n", {"text_column": "t"}, ", row 1, column 't'", ["text_column", "present: 'text', 'joy'"]),
        ("text,joy\nx,1\n", {"label_column": "l"}, ", row 1, column 'l'", ["label_column", "'text', 'joy'"]),
        ("text,joy\nx,1\n", {"label_names": ["joy", "fear"]}, ", row 1, column 'fear'", ["no such column"]),
        ("text,id\nx,1\n", {}, ", row 1", ["no labels, expected 0/1 columns or a column called labels"]),
        ("text,a,b\nx,y,z\n", {"label_names": ["joy"]}, ", row 1", ["no label column", "label_column"]),
        ("text,joy,fear\nx,1,0\ny,0,1\nz,2,0\n", {}, ", row 4, column 'joy'", ["expected 0 or 1, got '2'"]),
        ("text,joy,fear\nx,1,0\ny,0,\nz,2,0\n", {}, ", row 3, column 'fear'", ["expected 0 or 1, got ''"]),
        ("text,joy,likes\nx,1,17\n", {}, ", row 2, column 'likes'", ["got '17'", "name the columns", "label_names"]),
        ("text,joy,label\nx,1,fear\n", {}, ", row 1, column 'label'", ["beside the 0/1 column 'joy'"]),
        ('text,joy\n"x\ny",1\nz,no\n', {}, ", row 4, column 'joy'", ["expected 0 or 1, got 'no'"]),
        ("text,label\nx,['joy']\ny,['joy\n", {}, ", row 3, column 'label'", ["list of names or ids", 'got "[\'joy"']),
        ("text,label\nx,[f(1)]\n", {}, ", row 2, column 'label'", ["every label of the list", "got '[f(1)]'"]),
        ("text,label\nx,[i for i in j]\n", {}, ", row 2, column 'label'", ["list of names", "got '[i for"]),
        ('text,label\nx,"joy,,fear"\n', {}, ", row 2, column 'label'", ["every label of the list"]),
        ("text,label\nx,\ny,\n", {}, ", row 2, column 'label'", ["no row has a label"]),
        (
            "text,label\nx,joy\ny,joyy\n",
            {"label_names": LABELS},
            ", row 3, column 'label'",
            ["label 'joyy' is not among label_names (3 labels); did you mean 'joy'?"],
        ),
        ("text,label\nx,joy\ny,qqq\n", {"label_names": LABELS}, ", row 3, column 'label'", ["add it to label_names"]),
        ('text,label\nx,1\ny,"0,3"\n', {"label_names": LABELS}, ", row 3, column 'label'", ["from 0 to 2, got 3"]),
        ("text,label\nx,1\ny,-1\n", {"label_names": LABELS}, ", row 3, column 'label'", ["from 0 to 2, got -1"]),
        ("text,label\nx,1\ny,2x\n", {"label_names": LABELS}, ", row 3, column 'label'", ["label ids", "got '2x'"]),
        ("text,label\nx,1\ny,5\n", {}, ", row 2, column 'label'", ["label ids without names; give label_names"]),
        ('text,label\nx,"1,1"\ny,2\n', {"label_names": LABELS}, ", row 2, column 'label'", ["every label id once"]),
    ],
)
def test_broken_cells_in_csv(
    tmp_path: Path, content: str, kwargs: dict[str, Any], place: str, parts: list[str]
) -> None:
    path = write(tmp_path, "a.csv", content)
    with pytest.raises(DataError, match=message(path, place, *parts)):
        read_file(path, **kwargs)


@pytest.mark.parametrize(
    ("columns", "place", "parts"),
    [
        ({"text": ["a", None], "joy": [1, 0]}, ", row 2, column 'text'", ["expected a text, got null"]),
        ({"text": ["a", 5], "joy": [1, 0]}, ", row 2, column 'text'", ["expected a text, got 5"]),
        ({"text": ["a", float("nan")], "joy": [1, 0]}, ", row 2, column 'text'", ["expected a text, got nan"]),
        ({"text": ["a", "b"], "joy": [1, None]}, ", row 2, column 'joy'", ["expected 0 or 1, got null"]),
        ({"text": ["a", "b"], "joy": [1, [1]]}, ", row 2, column 'joy'", ["expected 0 or 1, got [1]"]),
        ({"text": ["a", "b"], "labels": [["joy"], None]}, ", row 2, column 'labels'", ["list of names", "got null"]),
        ({"text": ["a", "b"], "labels": [["joy"], [{}]]}, ", row 2, column 'labels'", ["every label", "got [{}]"]),
        ({"text": ["a", "b"], "labels": [["joy"], [1]]}, ", row 2, column 'labels'", ["label names", "got 1"]),
        ({"text": ["a", "b"], "labels": [[1.0, 0.0], [1.0]]}, ", row 1, column 'labels'", ["vectors without names"]),
    ],
)
def test_broken_cells_in_jsonl(tmp_path: Path, columns: dict[str, Any], place: str, parts: list[str]) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", **columns)
    with pytest.raises(DataError, match=message(path, place, *parts)):
        read_file(path)


@pytest.mark.parametrize(
    ("vector", "part"),
    [
        ([0.0, 1.0], "expected 3 numbers, one per label, got 2"),
        ([0, 1, 0, 1], "expected 3 numbers, one per label, got 4"),
        ([], "expected 3 numbers, one per label, got 0"),
        ([0.0, 0.5, 1.0], "expected numbers 0 or 1, got 0.5"),
    ],
)
def test_vectors_of_another_width_or_value(tmp_path: Path, vector: list[float], part: str) -> None:
    path = write_jsonl(tmp_path, "a.jsonl", text=["a", "b"], labels=[[0.0, 1.0, 0.0], vector])
    with pytest.raises(DataError, match=message(path, ", row 2, column 'labels'", part)):
        read_file(path, label_names=LABELS)


def test_missing_text_in_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, "a.parquet", text=["a", "b", None], joy=[1, 0, 1])
    with pytest.raises(DataError, match=message(path, ", row 3, column 'text'", "expected a text, got null")):
        read_file(path)


def test_long_values_are_cut_in_messages(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", f"text,joy\nx,1\ny,{'z' * 1000}\n")
    with pytest.raises(DataError, match=r"got 'z{56}[.]{3}; correct the value$"):
        read_file(path)
