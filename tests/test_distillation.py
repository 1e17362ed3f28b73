# SPDX-License-Identifier: Apache-2.0
"""Distillation: the loss, the teacher's cached logits, and a stock folder from the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import yaml
from conftest import fails
from recipe_samples import LABELS, make_rows, write_recipe, write_rows
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

import trainer_ext.stages.distillation as distillation
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from scripts import distill, evaluate_model, train
from trainer_ext.data.batching import tokenize_dataset
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext
from trainer_ext.encoders.stack import encoder_source
from trainer_ext.encoders.static_words import StaticWords
from trainer_ext.evaluation.calibration import Calibration
from trainer_ext.evaluation.prediction import predict_logits
from trainer_ext.losses.distillation import DistillationLoss
from trainer_ext.losses.hybrid import HybridLoss, HybridLossWeights, LabelStatistics, LossInputs
from trainer_ext.recipe import load_recipe
from trainer_ext.stages.distillation import (
    add_teacher,
    cached_logits,
    distillation_rows,
    fold_calibration,
    read_unlabelled,
    teacher_columns,
    teacher_logits,
)
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.trainer import StackedEmotionTrainer

pytestmark = pytest.mark.usefixtures("blank_figures")

STUDENT = ScratchEncoder(
    vocab_size=200, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, max_tokens=128, dropout=0.0
)
# Fields of the recipe of a stack.
STACK = ("encoders", "meta_hidden_size", "lstm_hidden_size")


@pytest.fixture(scope="module")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory, encoder_folders: dict[str, Path]) -> Path:
    """An untrained stack whose labels stand in another order than those of the data."""
    folder = tmp_path_factory.mktemp("teacher")
    encoders = {"bert_wp": encoder_folders["bert_wp"]}
    torch.manual_seed(0)
    model = StackedEmotionForSequenceClassification.from_encoders(encoders, id2label=dict(enumerate(LABELS[::-1])))
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    StackedEmotionTokenizer.from_encoders(encoders).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with weights so large that texts differ in it, as they do in a pretrained one."""
    folder = tmp_path_factory.mktemp("student")
    torch.manual_seed(0)
    STUDENT.build(BuildContext([row["text"] for row in make_rows(60, seed=0)], folder))
    model = AutoModel.from_pretrained(folder)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "embeddings" not in name:
                weight.mul_(10)
    model.save_pretrained(folder)
    return folder


NAN = float("nan")


def bce(logit: float, target: float) -> float:
    probability = 1 / (1 + np.exp(-logit))
    return float(-target * np.log(probability) - (1 - target) * np.log(1 - probability))


def sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def plain_loss(num_labels: int) -> HybridLoss:
    return HybridLoss(LabelStatistics.from_labels(np.eye(num_labels, dtype=np.int64)))


def test_loss_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, teacher = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([[0, 1, 0], [NAN, NAN, NAN], [1, NAN, 0], [0, 0, 0.3], [NAN, NAN, NAN]], dtype=torch.float64)
    terms = DistillationLoss(weight=0.3, temperature=2.0)(plain_loss(3), LossInputs(logits, labels), teacher)
    gold, soft = 0.0, 0.0
    for i in range(5):
        for j in range(3):
            z, y, t = logits[i, j].item(), labels[i, j].item(), teacher[i, j].item()
            gold += bce(z, y) / 15 if y == y else 0.0
            soft += bce(z / 2, sigmoid(t / 2)) / 15
    assert terms["base"].item() == pytest.approx(0.7 * gold, rel=1e-6)
    assert terms["distillation"].item() == pytest.approx(0.3 * 4 * soft, rel=1e-6)


def test_every_term_of_the_hybrid_loss_is_that_of_the_texts_with_labels() -> None:
    statistics = LabelStatistics.from_labels([[1, 0], [1, 1], [0, 1]], class_weights=[1.0, 3.0])
    loss = HybridLoss(statistics, correlation="matching", weights=HybridLossWeights(encoder=0.7, contrastive=0.5))
    loss.eval()
    logits, teacher, *others = (torch.randn(4, *size) for size in ((2,), (2,), (6,), (2,), (3, 2)))
    labels = torch.tensor([[1.0, 0.0], [NAN, NAN], [1.0, 1.0], [1.0, 0.0]])
    known = [0, 2, 3]
    expected = loss(LossInputs(logits[known], labels[known], *(tensor[known] for tensor in others)))
    terms = DistillationLoss(weight=0.2)(loss, LossInputs(logits, labels, *others), teacher)
    assert set(terms) == {"base", "auxiliary", "encoder", "correlation", "contrastive", "distillation"}
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(0.8 * 0.75 * value.item(), rel=1e-5)


def test_loss_without_teacher_is_that_of_the_labels() -> None:
    logits, labels = torch.randn(4, 3), torch.eye(4)[:, :3]
    inputs = LossInputs(logits, labels)
    terms = DistillationLoss(weight=0.0, temperature=3.0)(plain_loss(3), inputs, torch.randn(4, 3))
    assert terms["base"] == pytest.approx(torch.nn.functional.binary_cross_entropy_with_logits(logits, labels))
    assert terms["distillation"] == 0


def test_student_that_is_the_teacher_has_no_gradient() -> None:
    teacher = torch.randn(4, 3)
    logits = teacher.clone().requires_grad_()
    terms = DistillationLoss(0.5, 2.0)(plain_loss(3), LossInputs(logits, torch.full((4, 3), torch.nan)), teacher)
    assert set(terms) == {"distillation"}
    terms["distillation"].backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-7


def test_logits_are_kept_and_a_killed_run_goes_on(
    teacher_folder: Path, tmp_path: Path, corpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(teacher_folder)
    tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
    monkeypatch.setattr(distillation, "_TEXTS_PER_FILE", 4)
    seen: list[int] = []

    def counted(model: Any, tokenizer: Any, texts: list[str], precision: str) -> np.ndarray:
        if len(seen) == 2:
            seen.append(0)
            raise KeyboardInterrupt
        seen.append(len(texts))
        return predict_logits(model, tokenizer, texts, precision=precision)

    monkeypatch.setattr(distillation, "predict_logits", counted)
    texts = corpus[:14]
    with pytest.raises(KeyboardInterrupt):
        cached_logits(model, tokenizer, texts, tmp_path)
    found = cached_logits(model, tokenizer, texts, tmp_path)
    assert seen == [4, 4, 0, 4, 2]
    np.testing.assert_allclose(found, predict_logits(model, tokenizer, texts, precision="fp32"), atol=1e-5)
    np.testing.assert_array_equal(cached_logits(model, tokenizer, texts, tmp_path), found)
    assert len(seen) == 5
    assert [path.suffix for path in tmp_path.iterdir()] == [".npy"] * 4
    # Other weights are another teacher.
    with torch.no_grad():
        model.classifier.bias += 1.0
    np.testing.assert_allclose(cached_logits(model, tokenizer, texts, tmp_path), found + 1.0, atol=1e-5)


def test_several_teachers_are_the_mean_of_their_probabilities(
    teacher_folder: Path, tmp_path: Path, corpus: list[str]
) -> None:
    one, other = (AutoModelForSequenceClassification.from_pretrained(teacher_folder) for _ in range(2))
    torch.nn.init.normal_(other.classifier.weight)
    tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
    texts = corpus[:6]
    found = teacher_logits([(one, tokenizer), (other, tokenizer)], LABELS, texts, tmp_path)
    probabilities = [
        1 / (1 + np.exp(-predict_logits(model, tokenizer, texts, precision="fp32")[:, ::-1])) for model in (one, other)
    ]
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), np.mean(probabilities, axis=0), atol=1e-5)
    alone = teacher_logits([(one, tokenizer)], LABELS, texts, tmp_path)
    np.testing.assert_allclose(alone, predict_logits(one, tokenizer, texts, precision="fp32")[:, ::-1], atol=1e-5)
    # Numbers of another precision are other numbers.
    low = teacher_logits([(one, tokenizer)], LABELS, texts, tmp_path, precision="bf16")
    assert 0 < np.abs(low - alone).max() < 0.2
    assert len(list(tmp_path.iterdir())) == 3


def test_labels_of_the_teacher_are_found_by_name(teacher_folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(teacher_folder)
    assert teacher_columns(model, LABELS) == [3, 2, 1, 0]
    with pytest.raises(ValueError, match="The teacher does not know shame: its labels are sadness, joy, fear, anger"):
        teacher_columns(model, ["joy", "shame"])


def test_unlabelled_texts_are_new_ones_and_each_once(tmp_path: Path) -> None:
    write_rows(tmp_path / "texts.jsonl", [{"text": text} for text in ("b", "a", "c", "b", "d")])
    assert read_unlabelled(str(tmp_path / "texts.jsonl"), None, ["c", "x"]) == ["b", "a", "d"]
    with pytest.raises(ValueError, match="expected it for text_column"):
        read_unlabelled(str(tmp_path / "texts.jsonl"), "body", [])


def test_rows_carry_labels_and_logits() -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.List(datasets.Value("float32"))}
    )
    train = datasets.Dataset.from_dict({"text": ["so sad"], "labels": [[0.0, 1.0]]}, features=features)
    rows = distillation_rows(train, ["no label", "none"], 2)
    assert rows["text"][:] == ["so sad", "no label", "none"]
    assert rows["labels"][:1] == [[0.0, 1.0]]
    assert np.isnan(rows["labels"][1:]).all()
    taught = add_teacher(rows, np.arange(6).reshape(3, 2))
    assert taught["teacher_logits"][:] == [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    assert taught["text"][:] == rows["text"][:]


def test_texts_without_labels_are_one_of_several_sources() -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.List(datasets.Value("float32"))}
    )
    train = datasets.Dataset.from_dict({"text": ["a"], "labels": [[1.0]]}, features=features)
    train = train.add_column("source", ["arq"])
    assert distillation_rows(train, [], 1)["source"][:] == ["arq"]
    assert distillation_rows(train, ["b", "c"], 1)["source"][:] == ["arq", "unlabelled", "unlabelled"]


@pytest.mark.parametrize("name", ["bert_wp", "roberta_bb", "electra_uni"])
def test_folded_calibration_is_the_calibration(name: str, encoder_folders: dict[str, Path], corpus: list[str]) -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(encoder_folders[name], num_labels=4).eval()
    batch = AutoTokenizer.from_pretrained(encoder_folders[name])(corpus[:5], padding=True, return_tensors="pt")
    calibration = Calibration(np.array([0.5, 1.0, 2.0, 3.0]), np.array([0.1, -2.0, 0.0, 1.0]))
    with torch.no_grad():
        before = model(**batch).logits.numpy()
        fold_calibration(model, calibration)
        after = model(**batch).logits.numpy()
    np.testing.assert_allclose(after, calibration.scale * before + calibration.bias, atol=1e-5)


def test_calibration_needs_a_layer_to_go_into() -> None:
    model = torch.nn.Linear(3, 2, bias=False)
    model.config = type("Config", (), {"num_labels": 2})()  # type: ignore[assignment]
    with pytest.raises(ValueError, match="Linear has no linear layer with a bias and an output per label"):
        fold_calibration(model, Calibration(np.ones(2), np.zeros(2)))  # type: ignore[arg-type]


def write_distillation(folder: Path, teacher_folder: Path, student_folder: Path, **fields: Any) -> Path:
    arguments = {"student": str(student_folder), "teacher": str(teacher_folder)}
    return write_recipe(folder, **(dict.fromkeys(STACK) | arguments | fields))


@pytest.fixture(scope="module")
def distilled(
    tmp_path_factory: pytest.TempPathFactory, teacher_folder: Path, student_folder: Path
) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("distilled")
    texts = [{"text": row["text"]} for row in make_rows(40, seed=9)]
    unlabelled = write_rows(folder / "more.jsonl", texts)
    fields = {"unlabelled_file": str(unlabelled), "distillation_temperature": 2}
    (folder / "output" / "reports").mkdir(parents=True)
    (folder / "output" / "reports" / "label_correlation_9.png").write_bytes(b"of an earlier model")
    recipe = write_distillation(folder, teacher_folder, student_folder, **fields)
    results = distill.main([str(recipe), "--distillation_weight", "0.6"])
    return folder, results


def test_distilled_folder_is_a_stock_model(distilled: tuple[Path, dict[str, float]]) -> None:
    folder = distilled[0] / "output"
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "training_summary.json"} <= names
    assert not {name for name in names if name.endswith(".py") or name.startswith("checkpoint")}
    assert not (folder / "reports" / "label_correlation_9.png").exists()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "bert"
    assert config["problem_type"] == "multi_label_classification"
    absent = {"auto_map", "custom_pipelines", "calibration_scale"}
    assert not absent & set(config)
    assert [config["id2label"][str(index)] for index in range(4)] == LABELS
    assert len(config["thresholds"]) == 4
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 64
    summary = json.loads((folder / "training_summary.json").read_text(encoding="utf-8"))
    assert [teacher.endswith("(not on the Hub)") for teacher in summary["teachers"]] == [True]
    assert summary["num_texts"]["train"] == 60
    assert 0 < summary["num_texts"]["unlabelled"] <= 40
    assert summary["settings"]["distillation_weight"] == 0.6
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "trust_remote_code" not in card
    assert "The probabilities are calibrated on the validation split, in the model's weights." in card


def test_stock_pipeline_gives_calibrated_probabilities(distilled: tuple[Path, dict[str, float]]) -> None:
    folder, results = distilled[0] / "output", distilled[1]
    texts = [row["text"] for row in make_rows(5, seed=3)]
    answers = pipeline("text-classification", model=str(folder), top_k=None)(texts)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    logits = predict_logits(model, AutoTokenizer.from_pretrained(folder), texts, precision="fp32")
    for answer, row in zip(answers, logits.tolist(), strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        assert scores == pytest.approx({label: sigmoid(row[index]) for index, label in enumerate(LABELS)}, abs=1e-4)
    saved = json.loads((folder / "eval_results.json").read_text(encoding="utf-8"))
    assert saved["test_macro_f1"] == results["test_macro_f1"]
    again = evaluate_model.main(["--model", str(folder), "--data", str(distilled[0] / "test.jsonl")])
    for key in ("macro_f1", "micro_f1", "macro_calibration_error"):
        assert again[f"test_{key}"] == pytest.approx(results[f"test_{key}"], abs=1e-4)


def test_first_loss_of_a_training_is_the_distillation_loss(
    teacher_folder: Path, student_folder: Path, tmp_path: Path
) -> None:
    train = [row | {"labels": [float(label in row["labels"]) for label in LABELS]} for row in make_rows(6, seed=1)]
    features = datasets.Features(
        {"text": datasets.Value("string"), "labels": datasets.List(datasets.Value("float32"))}
    )
    rows = distillation_rows(datasets.Dataset.from_list(train, features=features), ["what a day", "so sad"], 4)
    tokenizer = AutoTokenizer.from_pretrained(student_folder)
    model = AutoModelForSequenceClassification.from_pretrained(student_folder, num_labels=4)
    texts = rows["text"][:]
    teacher = predict_logits(
        AutoModelForSequenceClassification.from_pretrained(teacher_folder),
        AutoTokenizer.from_pretrained(teacher_folder),
        texts,
        precision="fp32",
    )
    loss = DistillationLoss(weight=0.4, temperature=3.0)
    logits = torch.from_numpy(predict_logits(model, tokenizer, texts, precision="fp32"))
    inputs = LossInputs(logits, torch.tensor(rows["labels"][:]))
    expected = loss(plain_loss(4), inputs, torch.from_numpy(teacher))
    # Two batches of four texts each are one step: their mean is that of all.
    arguments = StackedEmotionTrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_steps=1,
        logging_steps=1,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        precision="fp32",
        disable_tqdm=True,
    )
    trainer = StackedEmotionTrainer(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=add_teacher(tokenize_dataset(rows, tokenizer)[0], teacher),
        distillation_loss=loss,
    )
    outcome = trainer.train()
    assert outcome.training_loss == pytest.approx(sum(expected.values()).item(), abs=1e-5)  # type: ignore[union-attr]
    logged = trainer.state.log_history[0]
    for name, value in expected.items():
        assert logged[f"loss/{name}"] == pytest.approx(value.item(), abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"teacher": None}, "The recipe names no `teacher`: give it a folder or a Hub id."),
        ({"student": None}, "The recipe names no `encoders`: give each a name and a Hub id or folder."),
        ({"distillation_weight": 1.5}, "`distillation_weight` must be in [0, 1], got 1.5."),
        ({"distillation_temperature": 0}, "`distillation_temperature` must be above 0, got 0.0."),
        ({"max_tokens": 2}, "`max_tokens` must be an integer of at least 8, got 2."),
        ({"max_tokens": 500}, "`max_tokens` is 500, but the student takes at most 128."),
        ({"lora_r": 0}, "`lora_r` has no meaning for a `student`: leave it out."),
        ({"encoders": {}}, "`encoders` has no meaning for a `student`: leave it out."),
        ({"dropout": 0.1}, "`dropout` has no meaning for a `student`: leave it out."),
        ({"training_mode": "staged"}, "`teacher` is for `training_mode: joint`, got staged."),
        ({"calibration": "beta"}, "`calibration` must be one of none, temperature, temperature_per_label, platt"),
        ({"unlabelled_file": "nowhere.csv"}, "nowhere.csv"),
        ({"student": {"size": 3}}, "Encoder 'student': unknown fields ['size']"),
    ],
)
def test_bad_input_is_one_line(
    fields: dict[str, Any],
    message: str,
    teacher_folder: Path,
    student_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    recipe = write_distillation(tmp_path, teacher_folder, student_folder, **fields)
    assert message in fails(distill.main, capfd, recipe)


def test_teacher_must_be_a_classifier(student_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = write_distillation(tmp_path, student_folder, student_folder)
    assert "cannot be loaded" in fails(distill.main, capfd, recipe)


def test_the_recipe_has_known_fields() -> None:
    path = Path(distill.__file__).parent / "recipes" / "goemotions_distilled.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"teacher", "student", "distillation_weight"} <= set(content)
    recipe = load_recipe(str(path), ["--teacher", "elsewhere"])
    assert recipe.given >= set(content)
    assert recipe.distillation.teacher == "elsewhere"
    assert recipe.training.learning_rate == 2e-4


def test_the_recipe_of_the_static_tier_has_known_fields_and_a_teacher_of_its_labels() -> None:
    root = Path(distill.__file__).parents[1]
    path = root / "scripts" / "recipes" / "goemotions_static.yaml"
    recipe = load_recipe(str(path))
    assert recipe.given >= set(yaml.safe_load(path.read_text(encoding="utf-8")))
    (source,) = [encoder_source(name, origin) for name, origin in recipe.model.encoders.items()]
    assert isinstance(source, StaticWords)
    config = json.loads((root / recipe.distillation.teachers[0] / "config.json").read_text(encoding="utf-8"))
    assert {"grief", "neutral"} <= {*config["id2label"].values()}


@pytest.mark.slow
def test_a_stack_learns_from_several_teachers(
    teacher_folder: Path, distilled: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    unlabelled = write_rows(tmp_path / "more.jsonl", [{"text": row["text"]} for row in make_rows(12, seed=9)])
    teachers = [str(teacher_folder), str(distilled[0] / "output")]
    cache = tmp_path / "cache"
    fields = {"teacher": teachers, "unlabelled_file": str(unlabelled), "teacher_cache_dir": str(cache)}
    recipe = write_recipe(tmp_path, logging_steps=1, class_weights="sqrt", **fields)
    train.main([str(recipe)])
    assert len(list(cache.iterdir())) == 2
    folder = tmp_path / "output"
    summary = json.loads((folder / "training_summary.json").read_text(encoding="utf-8"))
    assert summary["teachers"] == ["teacher0 (not on the Hub)", "output (not on the Hub)"]
    assert "Distilled from teacher0 (not on the Hub), output" in (folder / "README.md").read_text(encoding="utf-8")
    assert summary["settings"]["distillation_weight"] == 0.5
    assert 0 < summary["num_texts"]["unlabelled"] <= 12
    labels = json.loads((folder / "label_statistics.json").read_text(encoding="utf-8"))
    assert labels["num_texts"] == 60


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"teacher": "nowhere"}, "teacher nowhere cannot be loaded"),
        ({"teacher": "x", "training_mode": "staged"}, "`teacher` is for `training_mode: joint`, got staged."),
        ({"unlabelled_file": "x.csv"}, "Only a `teacher` can make use of `unlabelled_file`"),
        ({"distillation_weight": -1}, "`distillation_weight` must be in [0, 1], got -1.0."),
    ],
)
def test_bad_teacher_of_a_stack_is_one_line(
    fields: dict[str, Any], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert message in fails(train.main, capfd, write_recipe(tmp_path, **fields))
