# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.data.loading: the splits of local files and Hub datasets share one set of labels."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from emotion_samples import (
    COLUMNS_CSV,
    IDS,
    LABELS,
    MATRIX,
    NAMES,
    TEXTS,
    check,
    message,
    write,
    write_jsonl,
    write_parquet,
)

from trainer_ext.data.labels import GOEMOTIONS_LABELS
from trainer_ext.data.loading import EmotionData, iter_texts, load_emotion_data, read_file, read_texts
from trainer_ext.errors import InputError


def test_goemotions_names_are_known_when_all_28_ids_occur(tmp_path: Path) -> None:
    train = write(tmp_path, "train.tsv", "".join(f"t{i}\t{i}\tid{i}\n" for i in range(28)))
    test = write(tmp_path, "test.tsv", "grief!\t16,27\tx\n")
    result = load_emotion_data(train_file=train, test_file=test)
    assert result.label_names == list(GOEMOTIONS_LABELS)
    assert len(set(GOEMOTIONS_LABELS)) == 28
    assert list(result.splits["train"]["labels"]) == np.eye(28).tolist()
    row = result.splits["test"][0]["labels"]
    assert [GOEMOTIONS_LABELS[i] for i in np.flatnonzero(row)] == ["grief", "neutral"]


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
    with pytest.raises(InputError, match=expected):
        load_emotion_data(train_file=train, test_file=test)


def test_label_column_that_train_lacks(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", "text,joy\na,1\n")
    test = write(tmp_path, "test.csv", "text,joy,fear\na,1,0\n")
    with pytest.raises(InputError, match=message(test, ", row 1, column 'fear'", "'fear'", f"the labels of {train}")):
        load_emotion_data(train_file=train, test_file=test)
    assert load_emotion_data(train_file=train, test_file=test, label_names=["joy"]).label_names == ["joy"]


def test_label_that_a_split_has_no_column_for_is_unknown_there(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", COLUMNS_CSV)
    test = write(tmp_path, "test.csv", "text,anger,joy\na,1,0\n")
    with pytest.warns(UserWarning, match=r"test.csv: knows 'anger', 'joy' only \(1 of 3 labels missing: 'sadness'\)"):
        data = load_emotion_data(train_file=train, test_file=test)
    np.testing.assert_array_equal(data.splits["test"]["labels"][0], [1.0, 0.0, np.nan])
    with pytest.raises(InputError, match=message(train, ", row 1, column 'fear'", "no such column")):
        load_emotion_data(train_file=train, label_names=["joy", "fear"])


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


def test_one_text_recurs(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,joy\na,1\nb,0\nc,1\nA,1\n")
    with pytest.warns(UserWarning, match=message(path, "", "1 text recurs; all rows of a text go to the same split.")):
        load_emotion_data(train_file=path, validation_ratio=0.3)


def test_equal_texts_are_never_divided(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [f"so happy {index}" for index in range(200)]
    variants = [text.upper().replace(" ", "  ") for text in texts[:30]] + texts[:10]
    labels = (rng.random((240, 2)) < 0.4).astype(float).tolist()
    path = write_jsonl(tmp_path, "a.jsonl", text=texts + variants, labels=labels)
    with pytest.warns(
        UserWarning, match=message(path, "", "30 texts recur; all rows of a text go to the same split.")
    ):
        result = load_emotion_data(train_file=path, label_names=["a", "b"], validation_ratio=0.2, test_ratio=0.2)
    sides = [{" ".join(text.lower().split()) for text in split["text"]} for split in result.splits.values()]
    assert [len(side) for side in sides] == [120, 40, 40]
    assert len(set.union(*sides)) == 200
    assert sum(map(len, result.splits.values())) == 240


def test_settings_of_labels_hold_for_every_split(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", "text,labels\na,Joy/love\nb,fear\nc,joy\n")
    test = write(tmp_path, "test.csv", "text,labels\nd,Joy\ne,love/fear\n")
    result = load_emotion_data(train_file=train, test_file=test, label_separator="/", label_map={"Joy": "joy"})
    assert result.label_names == ["fear", "joy", "love"]
    check(result.splits["train"], ["a", "b", "c"], [[0, 1, 1], [1, 0, 0], [0, 1, 0]])
    check(result.splits["test"], ["d", "e"], [[0, 1, 0], [1, 0, 1]])
    columns = write(tmp_path, "columns.csv", "text,fear,Joy,love\nf,1,1,0\n")
    result = load_emotion_data(train_file=train, test_file=columns, label_separator="/", label_map={"Joy": "joy"})
    check(result.splits["test"], ["f"], [[1, 1, 0]])


@pytest.mark.parametrize(("validation_ratio", "test_ratio"), [(-0.1, 0.0), (0.5, 0.5), (float("nan"), 0.0)])
def test_ratios_out_of_range(tmp_path: Path, validation_ratio: float, test_ratio: float) -> None:
    path = write(tmp_path, "a.csv", COLUMNS_CSV)
    with pytest.raises(InputError, match=r"^validation_ratio \S+ and test_ratio \S+: expected ratios of at least 0"):
        load_emotion_data(train_file=path, validation_ratio=validation_ratio, test_ratio=test_ratio)


def test_ratio_too_small_for_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", COLUMNS_CSV)
    with pytest.raises(InputError, match=message(path, "", "4 rows leave none for test at a ratio of 0.01")):
        load_emotion_data(train_file=path, test_ratio=0.01)


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
    with pytest.raises(InputError, match=pattern):
        load_emotion_data(dataset_name="org/emo", test_split="eval")


def test_hub_errors_name_split_and_row(monkeypatch: pytest.MonkeyPatch) -> None:
    data = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"Tweet": ["a", None], "joy": [True, False]})})
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: data)
    pattern = r"^org/emo \(c\), split 'train', row 2, column 'Tweet': expected a text, got null"
    with pytest.raises(InputError, match=pattern):
        load_emotion_data(dataset_name="org/emo", dataset_config="c")


def test_hub_configuration_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: Any, **kwargs: Any) -> None:
        raise ValueError("BuilderConfig 'raw' not found.\nAvailable: ['simplified']")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(
        InputError, match=r"^org/emo \(raw\): BuilderConfig 'raw' not found. Available: \['simplified'\]$"
    ):
        load_emotion_data(dataset_name="org/emo", dataset_config="raw")


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


def test_exactly_one_source(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", COLUMNS_CSV)
    with pytest.raises(InputError, match=r"^dataset_name and train_file are both given, expected one source"):
        load_emotion_data(dataset_name="org/emo", train_file=path)
    for validation_file in (None, path):
        with pytest.raises(InputError, match=r"^neither train_file nor dataset_name is given, expected one of them"):
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
    with pytest.raises(InputError, match=pattern):
        read_file(write(tmp_path, "a.csv", COLUMNS_CSV), label_names=label_names)


def test_duplicate_in_a_file_of_label_names(tmp_path: Path) -> None:
    names = write(tmp_path, "names.txt", "joy\njoy\n")
    with pytest.raises(InputError, match=message(names, "", "label 'joy' occurs twice")):
        read_file(write(tmp_path, "a.csv", COLUMNS_CSV), label_names=names)


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("lines.txt", "one text\r\n\nanother\twith a tab\nof two\u2028lines, text\n", None),
        ("text.txt", "text\nmessage\n", ["text", "message"]),
        ("semeval.txt", 'ID\tTweet\tjoy\n1\tsay "no\t0\n', ['say "no']),
        ("pool.tsv", 'source\ttext\na\tsay "no\nb\tyes\n', ['say "no', "yes"]),
        ("posts.csv", "id,Comment\n1,hello\n", ["hello"]),
    ],
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_texts_alone(tmp_path: Path, name: str, content: str, texts: list[str] | None, is_compressed: bool) -> None:
    raw = content.encode()
    path = tmp_path / (f"{name}.gz" if is_compressed else name)
    path.write_bytes(gzip.compress(raw) if is_compressed else raw)
    assert read_texts(path) == (texts or ["one text", "another\twith a tab", "of two\u2028lines, text"])


def test_texts_alone_of_a_named_column(tmp_path: Path) -> None:
    (tmp_path / "posts.txt").write_text("text\tbody\nshort\tlong\n")
    assert read_texts(tmp_path / "posts.txt", "body") == ["long"]
    (tmp_path / "posts.csv").write_text("id,body\n1,hello\n")
    assert read_texts(tmp_path / "posts.csv", "body") == ["hello"]
    pattern = message(tmp_path / "posts.csv", ", row 1", "no text column", "name it with text_column", "'id', 'body'")
    with pytest.raises(InputError, match=pattern):
        read_texts(tmp_path / "posts.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.csv.gz"])
def test_texts_one_by_one(tmp_path: Path, name: str) -> None:
    texts = [f"so happy, {index}" for index in range(2500)]
    columns: dict[str, list[Any]] = {"id": list(range(2500)), "Tweet": texts, "other": texts[::-1]}
    rows = list(zip(*columns.values(), strict=True))
    if name == "a.parquet":
        path = write_parquet(tmp_path, name, **columns)
    elif name == "a.jsonl":
        path = write_jsonl(tmp_path, name, **columns)
    elif name == "a.json":
        path = write(tmp_path, name, json.dumps([dict(zip(columns, row, strict=True)) for row in rows]))
    else:
        lines = "".join("\t".join(map(str, row)) + "\n" for row in [tuple(columns), *rows])
        path = write(tmp_path, name, gzip.compress(lines.encode()) if name.endswith(".gz") else lines)
    assert list(iter_texts(path)) == texts
    assert list(iter_texts(path, "other")) == texts[::-1]
    with pytest.raises(InputError, match="no such column, expected it for text_column"):
        next(iter_texts(path, "post"))


def test_column_of_texts_is_that_of_the_first_piece(tmp_path: Path) -> None:
    lines = ['{"tweet": "a"}\n'] * 1000 + ['{"text": "b", "tweet": "c"}\n', '{"text": "d"}\n']
    path = write(tmp_path, "a.jsonl", "".join(lines))
    texts = iter_texts(path)
    assert [next(texts) for _ in range(1000)] == ["a"] * 1000
    with pytest.raises(InputError, match=message(path, ", row 1002, column 'tweet'", "expected a text, got null")):
        next(texts)


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_memory_does_not_grow_with_the_number_of_texts(tmp_path: Path, name: str, separator: str) -> None:
    path = write(tmp_path, name, f"id{separator}text\n" + f'1{separator}"so happy about ""qahwa"""\n' * 100_000)
    tracemalloc.start()
    assert sum(text == 'so happy about "qahwa"' for text in iter_texts(path)) == 100_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize(("name", "problem"), [("gone.txt", "no such file"), ("blank.txt", "the file is empty")])
def test_no_texts_at_all(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "blank.txt").write_text("\n \n")
    with pytest.raises(InputError, match=message(tmp_path / name, "", problem)):
        read_texts(tmp_path / name)
