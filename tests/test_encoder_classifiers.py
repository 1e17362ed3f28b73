# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.encoders.start: shares, and a stack that starts as the mean of its encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from conftest import CORPUS
from recipe_samples import LABELS, make_rows, write_recipe
from scipy.optimize import minimize, minimize_scalar
from torch import nn

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from scripts import _training, train
from trainer_ext.data.batching import EmotionDataCollator, tokenize_dataset
from trainer_ext.encoders.start import fit_shares, format_shares, mean_state_classifier, start_from_classifiers
from trainer_ext.encoders.trained import trained_classifiers
from trainer_ext.evaluation.prediction import load_classifier, predict_logits

pytestmark = pytest.mark.usefixtures("blank_figures")

PLAIN: dict[str, Any] = {"mixer": "none", "lstm_num_layers": 0, "pooling": "mean", "skip_connection": False}


# ---------------------------------------------------------------------------------------------- shares


def noisy_logits(generator: np.random.Generator, gold: np.ndarray, *noise: float) -> np.ndarray:
    return np.stack([4.0 * gold - 2.0 + generator.normal(0, scale, gold.shape) for scale in noise])


def test_better_classifiers_get_larger_shares() -> None:
    generator = np.random.default_rng(0)
    gold = generator.random((400, 3)) < 0.3
    shares = fit_shares(gold, noisy_logits(generator, gold, 1.0, 2.0, 8.0))
    assert shares.sum() == pytest.approx(1)
    assert shares[0] > shares[1] > shares[2] >= 0
    # One that says the contrary has no share; the others keep theirs.
    first, second, third = noisy_logits(generator, gold, 1.0, 2.0, 1.0)
    with_contrary = fit_shares(gold, [first, second, -third])
    assert 0 <= with_contrary[2] < 0.02
    assert with_contrary[:2] == pytest.approx(fit_shares(gold, [first, second]), abs=0.02)


def test_few_samples_say_little() -> None:
    """Of two classifiers that are equally good, the shares are equal unless the samples are clear about them."""
    generator = np.random.default_rng(3)
    spreads = {}
    for size in (40, 4000):
        found = []
        for _ in range(20):
            gold = generator.random((size, 2)) < 0.3
            found.append(fit_shares(gold, noisy_logits(generator, gold, 2.0, 2.0))[0])
        spreads[size] = np.abs(np.array(found) - 0.5)
    assert (spreads[40] == 0).sum() >= 8
    assert spreads[4000].max() < 0.05
    gold = generator.random((4000, 2)) < 0.3
    better, worse = fit_shares(gold, noisy_logits(generator, gold, 1.0, 3.0))
    # The slopes of a linear discriminant are inversely proportional to the variances.
    assert better / worse == pytest.approx(9, rel=0.15)


def test_shares_are_those_of_the_highest_likelihood() -> None:
    generator = np.random.default_rng(1)
    gold = generator.random((300, 1)) < 0.4
    scores = noisy_logits(generator, gold, 1.5, 2.5)

    def loss(share: float) -> float:
        """Of the best slope and intercept for this share."""
        mixed = (share * scores[0] + (1 - share) * scores[1])[:, 0]

        def loss_of_line(line: np.ndarray) -> float:
            logits = line[0] * mixed + line[1]
            return float((np.logaddexp(0, logits) - gold[:, 0] * logits).mean())

        return float(minimize(loss_of_line, [1.0, 0.0]).fun)

    expected = minimize_scalar(loss, bounds=(0, 1), method="bounded").x
    assert fit_shares(gold, scores)[0] == pytest.approx(expected, abs=0.03)


def test_a_shift_of_a_labels_logits_changes_no_share() -> None:
    """As class weights make it."""
    generator = np.random.default_rng(2)
    gold = generator.random((200, 2)) < 0.3
    scores = noisy_logits(generator, gold, 1.0, 2.0)
    shifted = scores + np.array([3.0, -1.0])
    assert fit_shares(gold, shifted) == pytest.approx(fit_shares(gold, scores), abs=1e-3)


def test_where_nothing_is_to_be_learnt_shares_are_equal() -> None:
    gold = np.tile([[True, False]], (10, 1))
    assert fit_shares(gold, np.zeros((2, 10, 2))).tolist() == [0.5, 0.5]
    contrary = np.where(gold, -2.0, 2.0)
    balanced = np.array([[0, 1], [1, 0]] * 5)
    assert fit_shares(balanced, [2.0 - 4.0 * balanced] * 2).tolist() == [0.5, 0.5]
    assert np.isfinite(fit_shares(gold, [contrary, contrary])).all()


def test_shares_are_read_by_people() -> None:
    assert format_shares({"arabert": 0.414, "marbert": 0.586}) == "arabert 0.41, marbert 0.59"


# ---------------------------------------------------------------------------------------------- the start of a stack


@pytest.fixture(scope="module")
def rows() -> datasets.Dataset:
    made = make_rows(20, 3)
    labels = [[float(label in row["labels"]) for label in LABELS] for row in made]
    return datasets.Dataset.from_dict({"text": [row["text"] for row in made], "labels": labels})


def make_stack(encoder_folders: dict[str, Path], **fields: Any) -> tuple[Any, StackedEmotionTokenizer]:
    encoders = {"a": encoder_folders["bert_wp"], "b": encoder_folders["roberta_bb"]}
    torch.manual_seed(0)
    model = StackedEmotionForSequenceClassification.from_encoders(encoders, id2label=dict(enumerate(LABELS)), **fields)
    return model, StackedEmotionTokenizer.from_encoders(encoders)


@pytest.mark.parametrize(
    "fields",
    [{}, {"weighted_skip_connection": True}, {"mixer": "convolutions", "lstm_num_layers": 0, "pooling": "max"}],
    ids=["meta_learner", "weighted", "convolutions"],
)
def test_the_stack_starts_as_the_weighted_mean_of_the_single_logits(
    encoder_folders: dict[str, Path], rows: datasets.Dataset, fields: dict[str, Any]
) -> None:
    model, tokenizer = make_stack(encoder_folders, **fields)
    singles, logits = {}, {}
    for name, encoder in model.stacked_emotion.encoders.items():
        config = {name: model.config.encoders[name]}
        single = StackedEmotionForSequenceClassification(type(model.config)(encoders=config, num_labels=4, **PLAIN))
        single.stacked_emotion.encoders[name] = encoder
        own = StackedEmotionTokenizer({name: tokenizer.tokenizers[name]})
        singles[name], logits[name] = single.classifier, predict_logits(single, own, rows["text"][:], precision="fp32")
    tokenized, _ = tokenize_dataset(rows, tokenizer)
    model.train()
    shares = start_from_classifiers(model, singles, tokenized, EmotionDataCollator(tokenizer), 6)
    assert model.training
    assert shares == pytest.approx(
        dict(zip("ab", fit_shares(rows["labels"][:], [logits["a"], logits["b"]]), strict=True)), abs=1e-3
    )
    expected = shares["a"] * logits["a"] + shares["b"] * logits["b"]
    assert predict_logits(model, tokenizer, rows["text"][:], precision="fp32") == pytest.approx(expected, abs=1e-5)
    # Without a validation split, and with a classifier of one encoder only.
    assert start_from_classifiers(model, singles, None, EmotionDataCollator(tokenizer)) == {"a": 0.5, "b": 0.5}
    assert start_from_classifiers(model, {"b": singles["b"]}, None, EmotionDataCollator(tokenizer)) == {"b": 1.0}
    # A weight that is to be learnt does not start at 0.
    tolerance = 1e-2 if model.config.weighted_skip_connection else 1e-5
    predicted = predict_logits(model, tokenizer, rows["text"][:], precision="fp32")
    assert predicted == pytest.approx(logits["b"], abs=tolerance)


def test_without_skip_connection_or_classifiers_nothing_changes(encoder_folders: dict[str, Path]) -> None:
    model, tokenizer = make_stack(encoder_folders, skip_connection=False)
    before = model.classifier.weight.clone()
    width = model.stacked_emotion.hidden_sizes[0]
    assert start_from_classifiers(model, {"a": nn.Linear(width, 4)}, None, EmotionDataCollator(tokenizer)) == {}
    assert start_from_classifiers(model, {}, None, EmotionDataCollator(tokenizer)) == {}
    assert torch.equal(model.classifier.weight, before)


def test_only_a_linear_layer_over_the_mean_of_one_encoder_counts(encoder_folders: dict[str, Path]) -> None:
    folder = {"a": encoder_folders["bert_wp"]}
    labels = {"id2label": dict(enumerate(LABELS))}
    single = StackedEmotionForSequenceClassification.from_encoders(folder, **labels, **PLAIN)
    assert mean_state_classifier(single, LABELS) is single.classifier
    assert mean_state_classifier(single, LABELS[::-1]) is None
    for change in ({"mixer": "meta_learner"}, {"lstm_num_layers": 1}, {"pooling": "max"}):
        other = StackedEmotionForSequenceClassification.from_encoders(folder, **labels, **(PLAIN | change))
        assert mean_state_classifier(other, LABELS) is None
    # Labels that a finished encoder does not know have the prior probability, whatever the text.
    more = ["more", *LABELS[::-1], "most"]
    assert mean_state_classifier(single, more) is None
    assert mean_state_classifier(single, LABELS[1:], may_lack=True) is None
    wider = mean_state_classifier(single, more, may_lack=True)
    assert wider is not None
    state = torch.randn(2, wider.in_features)
    with torch.no_grad():
        found, expected = wider(state), single.classifier(state)
    torch.testing.assert_close(found[:, 1:-1], expected.flip(-1))
    torch.testing.assert_close(found[:, [0, -1]].sigmoid(), torch.full((2, 2), single.config.prior_probability))
    two = StackedEmotionForSequenceClassification.from_encoders(
        folder | {"b": encoder_folders["roberta_bb"]}, **labels, **PLAIN
    )
    assert mean_state_classifier(two, LABELS) is None
    assert mean_state_classifier(nn.Linear(2, 2), LABELS) is None


def test_a_skip_connection_past_nothing_is_no_other_model(encoder_folders: dict[str, Path]) -> None:
    labels = {"id2label": dict(enumerate(LABELS))}
    fields = PLAIN | {"skip_connection": True}
    folder = {"a": encoder_folders["bert_wp"]}
    model = StackedEmotionForSequenceClassification.from_encoders(folder, **labels, **fields).eval()
    nn.init.normal_(model.classifier.weight)
    classifier = mean_state_classifier(model, LABELS)
    assert classifier is not None
    batch = StackedEmotionTokenizer.from_encoders(folder)(CORPUS[:3], padding=True, return_tensors="pt")
    with torch.no_grad():
        means = model.stacked_emotion(**batch).pooler_output[:, model.stacked_emotion.skip_places["a"]]
        torch.testing.assert_close(classifier(means), model(**batch).logits)


# ---------------------------------------------------------------------------------------------- by a recipe


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory, encoder_folders: dict[str, Path]) -> dict[str, Path]:
    """Two classifiers of one encoder each."""
    folders = {}
    torch.manual_seed(0)
    for name, encoder in {"bert": encoder_folders["bert_wp"], "roberta": encoder_folders["roberta_bb"]}.items():
        folders[name] = tmp_path_factory.mktemp(name)
        single = StackedEmotionForSequenceClassification.from_encoders(
            {name: encoder}, id2label=dict(enumerate(LABELS)), **PLAIN
        )
        nn.init.normal_(single.classifier.weight)
        single.save_pretrained(folders[name])
        StackedEmotionTokenizer.from_encoders({name: encoder}).save_pretrained(folders[name])
    return folders


def from_trained(singles: dict[str, Path]) -> dict[str, Any]:
    return {"encoders": {name: {"trained": str(folder)} for name, folder in singles.items()}}


def test_classifiers_are_found_by_the_recipe(singles: dict[str, Path]) -> None:
    origins = {**from_trained(singles)["encoders"], "new": {"architecture": "bert"}, "hub": "some/encoder"}
    found = trained_classifiers(origins, LABELS)
    assert list(found) == ["bert", "roberta"]
    model, _ = load_classifier(str(singles["bert"]), "cpu")
    assert torch.equal(found["bert"].weight, model.classifier.weight)
    assert trained_classifiers(origins, LABELS[::-1]) == {}


def test_joint_training_starts_from_trained_encoders(
    singles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = {"learning_rate": 1e-12, "head_learning_rate": 1e-12, "num_train_epochs": 1, "calibration": "none"}
    recipe = write_recipe(tmp_path, **(from_trained(singles) | still))
    train.main([str(recipe)])
    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if line.startswith("The stack starts as the mean of its encoders: ")]
    shares = dict(part.split() for part in line.split(": ")[1].rstrip(".").split(", "))
    texts = [row["text"] for row in make_rows(5, 9)]
    expected = 0
    for name, share in shares.items():
        model, tokenizer = load_classifier(str(singles[name]), "cpu")
        expected = expected + float(share) * predict_logits(model, tokenizer, texts)
    assert predict_logits(*load_classifier(str(tmp_path / "output"), "cpu"), texts) == pytest.approx(
        expected, abs=0.05
    )


def test_a_resumed_run_is_not_started_anew(
    singles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    recipe = write_recipe(tmp_path, **(from_trained(singles) | {"num_train_epochs": 1}))
    with monkeypatch.context() as patch:
        patch.setattr(_training, "evaluate_splits", stop)
        with pytest.raises(SystemExit, match="130"):
            train.main([str(recipe)])
    assert "The stack starts as the mean" in capsys.readouterr().out
    train.main([str(recipe), "--resume_from_checkpoint", "true"])
    assert "The stack starts" not in capsys.readouterr().out
