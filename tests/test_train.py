# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts.train: what a run leaves, its variants, and one clear line for every bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from conftest import contents, fails
from model_samples import CODE_FILES
from recipe_samples import LABELS, SPLITS, make_rows, write_recipe, write_rows, write_vectors
from safetensors.torch import load_file, save_file

from modeling_stacked_emotion import split_words
from scripts import train
from trainer_ext.evaluation.calibration import (
    Calibration,
    calibrated_probabilities,
    calibration_metrics,
    fit_calibration,
)
from trainer_ext.evaluation.label_statistics import label_correlation
from trainer_ext.evaluation.prediction import load_classifier, predict_logits, predict_probabilities
from trainer_ext.evaluation.thresholds import tune_thresholds

if TYPE_CHECKING:
    from trained_model import Trained

pytest_plugins = ["trained_model"]
pytestmark = pytest.mark.usefixtures("blank_figures")

METRICS = [
    *("macro_f1", "micro_f1", "weighted_f1", "samples_jaccard", "hamming_loss", "subset_accuracy"),
    *("macro_precision", "macro_recall", "macro_roc_auc", "macro_average_precision"),
]
ONE_ENCODER = {
    "words": {"architecture": "bert", "vocab_size": 120, "hidden_size": 8, "num_hidden_layers": 1}
    | {"num_attention_heads": 2}
}


def labels_of(split: str) -> np.ndarray:
    rows = make_rows(SPLITS[split], list(SPLITS).index(split))
    return np.array([[label in row["labels"] for label in LABELS] for row in rows], dtype=np.int64)


def probabilities_of(trained: Trained, split: str) -> np.ndarray:
    texts = [row["text"] for row in make_rows(SPLITS[split], list(SPLITS).index(split))]
    return predict_probabilities(*load_classifier(str(trained.folder), "cpu"), texts)


# ---------------------------------------------------------------------------------------------- a whole run


def test_folder_is_a_complete_repository_without_checkpoints(trained: Trained) -> None:
    files = CODE_FILES | {
        "README.md",
        "config.json",
        "eval_results.json",
        "model.safetensors",
        "tokenizer_config.json",
    }
    files |= {"label_statistics.json", "reliability.png", "training_summary.json"}
    reports = ("class_report", "label_correlation")
    files |= {f"reports/{report}_{step}.json" for report in reports for step in (8, 16)}
    # Drawn once, at the end.
    files |= {f"reports/{report}_16.png" for report in reports}
    for name in ("words", "bytes"):
        files |= {f"{name}_tokenizer/tokenizer.json", f"{name}_tokenizer/tokenizer_config.json"}
    assert set(contents(trained.folder)) == files
    assert not [path for path in trained.folder.parent.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("suffix", ["", "_at_0.5"])
def test_results_have_every_key_of_the_contract(trained: Trained, split: str, suffix: str) -> None:
    keys = METRICS + [f"{key}/{label}" for key in ("f1", "support") for label in LABELS]
    results = [trained.results[f"{split}_{key}{suffix}"] for key in keys]
    assert all(isinstance(value, float) and np.isfinite(value) for value in results)
    support = [trained.results[f"{split}_support/{label}{suffix}"] for label in LABELS]
    assert support == labels_of(split).sum(axis=0).tolist()


def test_results_returned_are_those_of_the_file(trained: Trained) -> None:
    assert trained.results["train_samples_per_second"] > 0
    assert trained.returned.keys() >= trained.results.keys()
    assert {key: trained.returned[key] for key in trained.results} == trained.results


def test_config_has_labels_and_the_thresholds_tuned_on_validation(trained: Trained) -> None:
    config = json.loads((trained.folder / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {str(index): label for index, label in enumerate(LABELS)}
    tuned = tune_thresholds(labels_of("validation"), probabilities_of(trained, "validation"))
    np.testing.assert_allclose(config["thresholds"], tuned, rtol=0, atol=1e-6)
    assert len(set(config["thresholds"])) > 1
    assert config["problem_type"] == "multi_label_classification"
    # A tenth of the characters is of Arabic words.
    assert (config["languages"], config["scripts"]) == (["en-GB"], ["Arabic", "Latin"])


def test_statistics_of_the_training_labels_are_in_a_file_and_in_the_config(trained: Trained) -> None:
    config = json.loads((trained.folder / "config.json").read_text(encoding="utf-8"))
    statistics = json.loads((trained.folder / "label_statistics.json").read_text(encoding="utf-8"))
    gold = labels_of("train")
    assert statistics["num_texts"] == len(gold)
    assert list(statistics["labels"]) == LABELS
    for index, label in enumerate(LABELS):
        entry = statistics["labels"][label]
        assert entry["count"] == gold[:, index].sum()
        assert entry["class_weight"] == config["class_weights"][index]
        assert list(entry["correlation"].values()) == config["label_correlation"][index]
    expected = label_correlation(gold, smoothing=10.0)
    np.testing.assert_allclose(config["label_correlation"], expected, rtol=0, atol=1e-6)


def test_config_has_the_calibration_fitted_on_validation(trained: Trained) -> None:
    model, tokenizer = load_classifier(str(trained.folder), "cpu")
    found = Calibration(np.array(model.config.calibration_scale), np.array(model.config.calibration_bias))
    model.config.calibration_scale = model.config.calibration_bias = None
    texts = {split: [row["text"] for row in make_rows(30, list(SPLITS).index(split))] for split in SPLITS}
    logits = {split: predict_logits(model, tokenizer, texts[split]) for split in ("validation", "test")}
    expected = fit_calibration(labels_of("validation"), logits["validation"], "platt")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert abs(found.scale - 1.0).max() > 0.01
    for split, values in logits.items():
        assert np.array_equal(calibrated_probabilities(values, found), probabilities_of(trained, split))
        for suffix, probabilities in (
            ("", probabilities_of(trained, split)),
            ("_uncalibrated", calibrated_probabilities(values, None)),
        ):
            for key, value in calibration_metrics(labels_of(split), probabilities, LABELS).items():
                assert trained.results[f"{split}_{key}{suffix}"] == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_f1_is_that_of_the_saved_model_at_its_thresholds(trained: Trained, split: str) -> None:
    thresholds = json.loads((trained.folder / "config.json").read_text(encoding="utf-8"))["thresholds"]
    gold, probabilities = labels_of(split), probabilities_of(trained, split)
    for suffix, limits in (("", thresholds), ("_at_0.5", [0.5] * 4)):
        scores = []
        for index, limit in enumerate(limits):
            hits = sum(p >= limit and g for p, g in zip(probabilities[:, index], gold[:, index], strict=True))
            total = sum(probabilities[:, index] >= limit) + gold[:, index].sum()
            scores.append(2 * hits / total if total else 0.0)
        found = [trained.results[f"{split}_f1/{label}{suffix}"] for label in LABELS]
        assert found == pytest.approx(scores, abs=1e-9)
        assert trained.results[f"{split}_macro_f1{suffix}"] == pytest.approx(np.mean(scores), abs=1e-9)


def test_training_learns_something(trained: Trained) -> None:
    assert trained.results["test_macro_roc_auc"] > 0.65
    assert trained.results["test_macro_f1"] > trained.results["test_macro_f1_always_frequent"] + 0.1


def test_command_line_wins_over_the_recipe(tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, num_train_epochs=1, encoders=ONE_ENCODER))
    train.main([recipe, "--encoders.words.hidden_size", "12", "--output_dir", str(tmp_path / "other"), "--seed=3"])
    config = json.loads((tmp_path / "other" / "config.json").read_text(encoding="utf-8"))
    assert config["encoders"]["words"]["hidden_size"] == 12
    assert "| `seed` | 3 |" in (tmp_path / "other" / "README.md").read_text(encoding="utf-8")
    assert not (tmp_path / "output").exists()


@pytest.mark.slow
def test_same_seed_same_weights_and_what_was_in_the_folder_stays(tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, num_train_epochs=1, encoders=ONE_ENCODER))
    kept = tmp_path / "output" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    train.main([recipe])
    first = load_file(tmp_path / "output" / "model.safetensors")
    train.main([recipe])
    second = load_file(tmp_path / "output" / "model.safetensors")
    train.main([recipe, "--seed=8"])
    third = load_file(tmp_path / "output" / "model.safetensors")
    assert kept.read_text() == "mine"
    assert all((first[key] == second[key]).all() for key in first)
    assert not (first["classifier.weight"] == third["classifier.weight"]).all()


@pytest.mark.slow
def test_static_words_are_trained_saved_in_fp16_and_highlight_words(tmp_path: Path) -> None:
    vectors = write_vectors(tmp_path / "words.vec")
    fields = {"mixer": "convolutions", "convolution_widths": [1, 3], "convolution_hidden_size": 16}
    recipe = write_recipe(tmp_path, encoders={"words": str(vectors)}, num_train_epochs=6, word_dropout=0.1, **fields)
    results = train.main([str(recipe)])
    assert results["test_macro_roc_auc"] > 0.7
    output = tmp_path / "output"
    weights = load_file(output / "model.safetensors")
    table = weights.pop("stacked_emotion.encoders.words.table")
    assert (table.dtype, {value.dtype for value in weights.values()}) == (torch.float16, {torch.float32})
    assert (output / "words_tokenizer" / "vocabulary.json").is_file()
    assert "| words.vec (not on the Hub) |" in (output / "README.md").read_text(encoding="utf-8")
    model, tokenizer = load_classifier(str(output), "cpu")
    predicted = predict_logits(model, tokenizer, [row["text"] for row in make_rows(30, 2)]) >= 0
    assert results["test_subset_accuracy_at_0.5"] == pytest.approx((predicted == labels_of("test")).all(axis=1).mean())
    (described,) = model.emotion_pipeline(tokenizer)(["so happy, what a lovely day 🎉"], top_words=2)
    assert {word["word"] for word in described["attention"]} <= {
        "so",
        "happy",
        ",",
        "what",
        "a",
        "lovely",
        "day",
        "🎉",
    }
    assert len(described["attention"]) == 2


def test_shrinkage_and_calibration_of_the_recipe_are_used(tmp_path: Path) -> None:
    fields = {"calibration": "none", "threshold_shrinkage": 6.0}
    results = train.main([str(write_recipe(tmp_path, num_train_epochs=1, encoders=ONE_ENCODER, **fields))])
    model, tokenizer = load_classifier(str(tmp_path / "output"), "cpu")
    assert model.config.calibration_scale is None
    assert "test_macro_calibration_error" in results
    assert not [key for key in results if "uncalibrated" in key]
    gold = labels_of("validation")
    probabilities = predict_probabilities(model, tokenizer, [row["text"] for row in make_rows(30, 1)])
    per_label, shared = tune_thresholds(gold, probabilities), tune_thresholds(gold, probabilities, strategy="global")
    counts = gold.sum(axis=0)
    expected = (counts * per_label + 6 * shared) / (counts + 6)
    assert model.config.thresholds == pytest.approx(expected, abs=1e-6)
    assert np.abs(expected - per_label).max() > 1e-4


def test_without_validation_the_thresholds_are_one_half(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, num_train_epochs=1, encoders=ONE_ENCODER, validation_file=None)
    results = train.main([str(recipe)])
    config = json.loads((tmp_path / "output" / "config.json").read_text(encoding="utf-8"))
    assert config["thresholds"] == [0.5] * 4
    assert config.get("calibration_scale") is None
    assert not [key for key in results if key.startswith("validation_")]
    assert results["test_macro_f1"] == results["test_macro_f1_at_0.5"]
    said = capsys.readouterr().out
    assert "every threshold is 0.5" in said
    assert "Results on test (every threshold 0.5, encoders in " in said
    assert "here 0.5 for every label." in (tmp_path / "output" / "README.md").read_text(encoding="utf-8")
    assert not (tmp_path / "output" / "checkpoints").exists()


def test_one_label_is_trained_without_the_reports_that_compare_labels(tmp_path: Path) -> None:
    one = {"label_map": dict.fromkeys(LABELS[1:]), "label_names": LABELS[:1]}
    results = train.main([str(write_recipe(tmp_path, num_train_epochs=1, **one))])
    assert results["test_macro_f1"] == results[f"test_f1/{LABELS[0]}"]
    assert not (tmp_path / "output" / "reports").exists()


def test_reports_of_an_earlier_model_are_removed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    for name in ("label_correlation_999.png", "encoder_words/label_correlation_9.png"):
        (output / "reports" / name).parent.mkdir(parents=True, exist_ok=True)
        (output / "reports" / name).write_bytes(b"of an earlier model")
    (output / "reliability.png").write_bytes(b"of an earlier model")
    fields = {"validation_file": None, "test_file": None, "num_train_epochs": 1, "encoders": ONE_ENCODER}
    train.main([str(write_recipe(tmp_path, **fields))])
    assert not [name for name in contents(output) if name.endswith(".png")]
    assert (output / "label_statistics.json").is_file()


def test_without_test_the_table_is_that_of_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, num_train_epochs=1, encoders=ONE_ENCODER, test_file=None)
    results = train.main([str(recipe)])
    assert not [key for key in results if key.startswith("test_")]
    assert results["validation_macro_f1"] > 0
    assert "Results on validation" in capsys.readouterr().out
    assert "On the validation split (30 texts)." in (tmp_path / "output" / "README.md").read_text(encoding="utf-8")


def test_splits_are_taken_from_the_training_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratios = {"validation_file": None, "test_file": None, "validation_ratio": 0.2, "test_ratio": 0.3}
    results = train.main([str(write_recipe(tmp_path, num_train_epochs=1, encoders=ONE_ENCODER, **ratios))])
    assert "28 train, 9 validation, 23 test texts" in capsys.readouterr().out
    total = labels_of("train").sum()
    assert 0 < sum(results[f"test_support/{label}"] for label in LABELS) < total / 2


def test_long_texts_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, num_train_epochs=1, encoders=ONE_ENCODER, max_tokens=32)
    train.main([str(recipe), "--max_words=2"])
    num_long = sum(len(split_words(row["text"])) > 2 for row in make_rows(60, 0))
    assert 0 < num_long < 60
    assert f"{num_long} of 60 train texts were cut to the limit." in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- bad data files

ROW = '{"text": "so happy", "labels": ["joy"]}\n'
BAD_FILES: list[tuple[str, bytes, list[str], list[str]]] = [
    ("missing_column.csv", b"id,words,labels\n1,so happy,joy\n", [], ["row 1", "text"]),
    ("no_labels.csv", b"text,remark\nso happy,well\nso sad,oh\n", [], ["row"]),
    ("unknown_label.jsonl", (ROW + ROW.replace("joy", "joie")).encode(), [], ["row 2", "'labels'", "'joie'"]),
    ("id_range.csv", b'text,labels\nso happy,"1,2"\nso sad,7\n', [], ["row 3", "'labels'", "0 to 3", "got 7"]),
    ("ragged.csv", b"text,labels\nso happy,joy\nso sad,sadness,1\n", [], ["row 3", "expected 2 fields, got 3"]),
    ("wrong_encoding.csv", "text,labels\nso happy,joy\ntrès triste,joy\n".encode("latin-1"), [], ["row 3", "UTF-8"]),
    ("empty.csv", b"", [], ["empty"]),
    ("only_header.csv", b"text,labels\n", [], ["row 1", "no rows"]),
    ("not_binary.csv", b"text,anger,fear,joy,sadness\na,0,0,1,0\nb,0,2,0,0\n", [], ["row 3", "'fear'", "'2'"]),
    ("broken.jsonl", (ROW + '{"text": \n').encode(), [], ["row 2", "JSON"]),
    ("no_text.jsonl", (ROW + '{"text": 5, "labels": ["joy"]}\n').encode(), [], ["row 2", "'text'", "got 5"]),
    ("named.csv", b"text,labels\nso happy,joy\n", ["--text_column", "tweet"], ["row 1", "'tweet'"]),
    ("fake.parquet", b"PAR0", [], ["Parquet"]),
    ("kind.xlsx", b"PK", [], ["'.xlsx'"]),
]


@pytest.mark.parametrize("field", ["train_file", "test_file"])
@pytest.mark.parametrize(("name", "content", "arguments", "parts"), BAD_FILES, ids=[case[0] for case in BAD_FILES])
def test_bad_data_file_is_named_and_nothing_is_written(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    field: str,
    name: str,
    content: bytes,
    arguments: list[str],
    parts: list[str],
) -> None:
    (tmp_path / name).write_bytes(content)
    recipe = write_recipe(tmp_path, label_names=LABELS, **{field: str(tmp_path / name)})
    if name == "named.csv":
        arguments = [*arguments, "--train_file", str(tmp_path / name)]
    said = fails(train.main, capfd, recipe, *arguments)
    assert str(tmp_path / name) in said
    for part in parts:
        assert part in said
    assert not (tmp_path / "output").exists()


def test_bad_data_file_leaves_an_older_output_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = str(write_recipe(tmp_path))
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "model.safetensors").write_bytes(b"an older model")
    before = contents(tmp_path / "output")
    write_rows(tmp_path / "validation.jsonl", [{"text": "oh", "labels": ["joie"]}])
    said = fails(train.main, capfd, recipe)
    assert f"{tmp_path / 'validation.jsonl'}, row 1, column 'labels'" in said
    assert "'joie' is not among the labels of" in said
    assert contents(tmp_path / "output") == before


def test_missing_data_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, test_file=str(tmp_path / "nothing.csv"))
    assert f"{tmp_path / 'nothing.csv'}: no such file" in fails(train.main, capfd, recipe)


# ---------------------------------------------------------------------------------------------- bad recipes


def test_missing_recipe(capfd: pytest.CaptureFixture[str]) -> None:
    assert "There is no recipe nothing.yaml" in fails(train.main, capfd, "nothing.yaml")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--lerning_rate", "1e-3"], "unknown field `lerning_rate`; did you mean `learning_rate`?"),
        (["--num_train_epochs", "many"], "`num_train_epochs`"),
        (["--encoders", "{}"], "names no `encoders`"),
        (["--train_file", "null"], "neither train_file nor dataset_name"),
        (["--precision", "fp8"], "`precision` must be one of auto, fp32, bf16, fp16, got 'fp8'"),
        (["--mixer", "blender"], "`mixer` must be one of"),
        (["--max_tokens", "600"], "`max_tokens` is 600, but encoder 'words' takes at most 128"),
        (
            ["--per_device_train_batch_size", "0"],
            "`per_device_train_batch_size` must be at least 1, got 0",
        ),
        (["--resume_from_checkpoint", "nothing"], "`resume_from_checkpoint` must be the folder of a checkpoint"),
        (["--encoders.words.hidden_size", "wide"], "`hidden_size` must be an integer of at least 1, got 'wide'"),
        (["--encoder_learning_rates.wrods", "1e-3"], "`encoder_learning_rates` names 'wrods'; the encoders are"),
        (["--encoder_loss_weight", "1", "--skip_connection", "false"], "`encoder_loss_weight` needs `skip_conn"),
        (["--encoders.words.hiden_size", "8"], "Encoder 'words': unknown fields ['hiden_size']"),
        (["--validation_ratio", "1.5", "--validation_file", "null"], "validation_ratio 1.5"),
        (["a_second_argument"], "'a_second_argument'"),
    ],
)
def test_bad_field(tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], part: str) -> None:
    assert part in fails(train.main, capfd, write_recipe(tmp_path), *arguments)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("below", ["", "below"])
def test_output_dir_that_cannot_be_one(tmp_path: Path, capfd: pytest.CaptureFixture[str], below: str) -> None:
    blocking = tmp_path / "file"
    blocking.write_text("in the way")
    said = fails(train.main, capfd, write_recipe(tmp_path, output_dir=str(blocking / below)))
    assert f"`output_dir` must be a folder, but {blocking} is a file." in said
    assert blocking.read_text() == "in the way"


# ---------------------------------------------------------------------------------------------- bad encoders


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_half_the_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights = {key: value for key, value in weights.items() if "attention" not in key}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def with_a_torn_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:3000])


def with_a_torn_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (without_weights, ["model.safetensors", "FOLDER"]),
        (with_half_the_weights, ["Encoder 'a'", "FOLDER", "lacks", "weights of a BertModel"]),
        (with_a_torn_file, ["header"]),
        (with_a_torn_tokenizer, ["encoder 'a', FOLDER, cannot be loaded"]),
        (without_config, ["encoder 'a', FOLDER, cannot be loaded", "config.json"]),
    ],
)
def test_damaged_encoder(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    encoder_folders: dict[str, Path],
    damage: Callable[[Path], Any],
    parts: list[str],
) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    for path in encoder_folders["bert_wp"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    damage(folder)
    said = fails(train.main, capfd, write_recipe(tmp_path, encoders={"a": str(folder)}))
    for part in parts:
        assert part.replace("FOLDER", str(folder)) in said
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("origin", ["no_such_folder", "nobody/nothing", "/no/such/folder"])
def test_missing_encoder(tmp_path: Path, capfd: pytest.CaptureFixture[str], origin: str) -> None:
    said = fails(train.main, capfd, write_recipe(tmp_path, encoders={"a": origin}))
    assert f"encoder 'a', {origin}, cannot be loaded: " in said
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("encoder", "part"),
    [
        ("no/such/file.vec", "There is no file no/such/file.vec of word vectors."),
        ({"architecture": "static_words", "size": 3}, "Encoder 'a': unknown fields ['size']; expected some of word_v"),
        ({"architecture": "static_words", "texts_file": "gone.txt"}, "gone.txt: no such file; correct the path"),
    ],
)
def test_word_vectors_that_cannot_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], encoder: Any, part: str
) -> None:
    assert part in fails(train.main, capfd, write_recipe(tmp_path, encoders={"a": encoder}))
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"validation_file": None, "eval_strategy": "no", "load_best_model_at_end": False},
        {},
        {"training_mode": "staged", "head_num_train_epochs": 2},
    ],
)
def test_training_that_diverges_ends_in_one_line_and_leaves_no_model(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], fields: dict[str, Any]
) -> None:
    recipe = write_recipe(tmp_path, learning_rate=1e9, head_learning_rate=1e9, num_train_epochs=4, **fields)
    with pytest.raises(SystemExit) as stopped:
        train.main([str(recipe)])
    assert stopped.value.code == 2
    said = capfd.readouterr().err.splitlines()
    # Behind the bar of the texts that were tokenised.
    assert said[-1].startswith("error: The loss of step ")
    assert said[-1].endswith("Try a lower `learning_rate` and `head_learning_rate`, or `precision` fp32.")
    assert not (tmp_path / "output" / "config.json").exists()
    assert not (tmp_path / "output" / "model.safetensors").exists()
