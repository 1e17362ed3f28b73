# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.model.card and hub.model.encoders: the card's numbers are the results', the Hub reads its metadata."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results
from model_samples import RESULTS
from transformers import BertConfig

from hub.model.card import CardContext, evaluation_entries, render_card
from hub.model.encoders import Encoder, check_licenses, find_encoder
from hub.model.summary import TrainingSummary, read_summary
from modeling_stacked_emotion import StackedEmotionConfig

if TYPE_CHECKING:
    from pathlib import Path

    from trained_model import Trained

pytest_plugins = ["trained_model"]

SUMMARY = TrainingSummary(
    "mine",
    encoders={"a": "google-bert/bert-base-uncased", "b": "roberta-base", "c": "from scratch"},
    dataset="user/emotions",
    dataset_config="plain",
    dataset_revision="1" * 40,
    num_texts={"train": 43410, "test": 5427},
    settings={"num_train_epochs": 3.0, "learning_rate": 5e-05, "seed": 1000000, "lora_r": 0},
    versions={"torch": "2.13.0"},
)
EXAMPLES = [
    {
        "text": "so happy | really",
        "output": [{"label": "joy", "score": 0.912}, {"label": "anger", "score": 0.01}],
        "emotions": [{"label": "joy", "score": 0.912}],
    },
    {"text": "آه", "output": [{"label": "joy", "score": 0.1}], "emotions": []},
]
PUBLISHED = {"revision": "v1.0.0", "languages": ["en", "ar"], "license": "apache-2.0", "examples": EXAMPLES}
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
ARABERT = "aubmindlab/bert-base-arabertv02-twitter"


def our_config(**fields: Any) -> StackedEmotionConfig:
    bert = BertConfig().to_dict()
    return StackedEmotionConfig(id2label={0: "joy", 1: "anger"}, encoders={"a": bert, "b": bert, "c": bert}, **fields)


def stock_config(**fields: Any) -> BertConfig:
    return BertConfig(id2label={0: "joy", 1: "anger"}, architectures=["BertForSequenceClassification"], **fields)


def card(
    results: dict[str, float] = RESULTS,
    summary: TrainingSummary = SUMMARY,
    location: str = "user/repo",
    config: Any = None,
    **options: Any,
) -> tuple[dict[str, Any], str]:
    """The card's metadata and its text."""
    text = render_card(CardContext(config or our_config(), results, summary, location, **options))
    _, metadata, body = text.split("---\n", 2)
    return yaml.safe_load(metadata), body


def table(body: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines() if line[:1] == "|"]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_results_are_those_of_the_test_split() -> None:
    _, body = card(config=our_config(thresholds=[0.3125, 0.125]))
    rows = table(body)
    assert rows["macro_f1"] == ["0.512", "0.250"]
    assert rows["hamming_loss"] == ["0.062", "–"]
    assert "weighted_f1" not in rows
    assert rows["joy"] == ["16", "0.312", "0.625", "0.938", "0.750"]
    assert rows["anger"] == ["40", "0.125", "–", "–", "0.000"]
    assert list(rows).index("anger") < list(rows).index("joy")
    assert "On the test split (5,427 texts)." in body
    assert "its threshold; here one per label, chosen on the validation split, never on test.\n" in body
    assert "It took 1.5 minutes, at 1,234 texts per second." in body


def test_validation_takes_its_place_where_there_is_no_test_split() -> None:
    metadata, body = card({"validation_macro_f1": 0.9}, config=our_config(thresholds=[0.3, 0.1]))
    assert table(body)["macro_f1"] == ["0.900", "–"]
    assert "On the validation split." in body
    assert (
        "here one per label, chosen on this very split, so the numbers at tuned thresholds are a little too good.\n"
        in body
    )
    assert metadata["model-index"][0]["results"][0]["dataset"]["split"] == "validation"


def test_a_training_without_evaluation_says_so() -> None:
    metadata, body = card({"train_loss": 0.1})
    assert "nothing is known of its quality" in body
    assert "model-index" not in metadata
    assert "metrics" not in metadata
    assert "| metric |" not in body
    limits = body.partition("## Limits")[2]
    assert not [words for words in ("The table", "Fewer than", "F1 is below") if words in limits]


@pytest.mark.parametrize("thresholds", [None, [0.5, 0.5]])
@pytest.mark.parametrize("results", [RESULTS, {"validation_macro_f1": 0.9}])
def test_thresholds_that_nothing_has_chosen_are_one_half(
    thresholds: list[float] | None, results: dict[str, float]
) -> None:
    _, body = card(results, config=our_config(thresholds=thresholds))
    assert "A label is predicted\nwhere its probability reaches its threshold; here 0.5 for every label.\n" in body
    assert "| metric | at 0.5 |\n|---|---|\n| `macro_f1` | 0." in body
    assert [len(table(body)[key]) for key in ("macro_f1", "joy")] == [1, 5]
    assert "chosen" not in body
    assert "tuned" not in body


def test_a_threshold_that_all_labels_share_is_named() -> None:
    config = our_config(thresholds=[0.3125, 0.3125])
    _, body = card(config=config)
    assert "its threshold; here 0.312 for every label, chosen on the validation split, never on test.\n" in body
    assert "per label" not in body.partition("## Results")[2].partition("| metric |")[0]
    (entry,) = evaluation_entries(CardContext(config, RESULTS, SUMMARY, "user/repo")) or []
    assert "; one threshold for all labels from the validation split" in entry["notes"]


@pytest.mark.parametrize(
    ("thresholds", "common"),
    [([0.3, 0.2], "here one per label, chosen"), ([0.3, 0.3], "here 0.300 for every label, chosen")],
)
def test_thresholds_of_data_sets_are_told(thresholds: list[float], common: str) -> None:
    own = {"tweets": [0.1, 0.4], "untuned": [0.5, 0.5], "news": [0.2, 0.2]}
    _, body = card(config=our_config(thresholds=thresholds, source_thresholds=own))
    assert f"{common} on the validation split, never on test. Texts of tweets and news have thresholds of\n" in body
    assert "only\nthose in the table of data sets are at them.\n\n| metric |" in body
    assert "source_thresholds" not in card(config=our_config(source_thresholds={"untuned": [0.5, 0.5]}))[1]


def test_graded_gold_is_compared_with_the_probabilities() -> None:
    graded = {"macro_pearson": 0.4567, "macro_mae": 0.125, "pearson/joy": 0.75, "mae/joy": 0.0625, "mae/anger": 0.1875}
    metadata, body = card(RESULTS | {f"test_{key}": value for key, value in graded.items()})
    rows = table(body)
    assert (rows["macro_pearson"], rows["macro_mae"]) == (["0.457"], ["0.125"])
    assert rows["label"][-2:] == ["Pearson's r", "mean absolute error"]
    assert rows["joy"] == ["16", "0.500", "0.625", "0.938", "0.750", "0.750", "0.062"]
    assert rows["anger"] == ["40", "0.500", "–", "–", "0.000", "–", "0.188"]
    assert "`hamming_loss` and `macro_mae` are better when lower, all others when higher.\nThe gold labels are" in body
    metrics = [metric for result in metadata["model-index"][0]["results"] for metric in result["metrics"]]
    (metric,) = [metric for metric in metrics if metric["type"] == "pearsonr"]
    assert (metric["name"], metric["value"]) == ("Pearson's r, mean over the labels", 0.4567)
    metadata, body = card()
    assert "pearson" not in f"{metadata}{body}".lower()
    assert "macro_mae" not in body
    assert "`hamming_loss` is better when lower" in body


def test_thresholds_of_one_half_are_named() -> None:
    _, body = card()
    assert table(body)["joy"][1] == "0.500"
    assert "probabilities = model(**batch).logits.sigmoid()\npredicted = probabilities >= 0.5\n" in body


def test_calibration_error() -> None:
    errors = {"test_macro_calibration_error": 0.0125, "test_macro_calibration_error_uncalibrated": 0.25}
    config = our_config(calibration_scale=[1.0, 2.0], calibration_bias=[0.0, 0.5])
    _, body = card(RESULTS | errors, config=config)
    assert "Expected calibration error, mean over the labels: 0.013, before calibration 0.250." in body
    errors.popitem()
    assert "before calibration unknown." in card(RESULTS | errors, config=config)[1]
    _, body = card(RESULTS | errors)
    assert "The probabilities are not calibrated; expected calibration error, mean over the labels: 0.013." in body
    assert "calibration error" not in card()[1]


@pytest.mark.parametrize(
    ("config", "place"),
    [
        (stock_config(), "in the model's weights"),
        (our_config(calibration_scale=[2.0, 2.0], calibration_bias=[0.0, 0.0]), "by a scale in `config.json`"),
        (
            our_config(calibration_scale=[1.0, 2.0], calibration_bias=[0.0, 0.0]),
            "by a scale per label in `config.json`",
        ),
        (
            our_config(calibration_scale=[2.0, 2.0], calibration_bias=[0.0, 0.5]),
            "by a scale and a bias per label in `config.json`",
        ),
    ],
)
def test_place_of_the_calibration(config: Any, place: str) -> None:
    errors = {"test_macro_calibration_error": 0.0125, "test_macro_calibration_error_uncalibrated": 0.25}
    _, body = card(RESULTS | errors, config=config)
    assert f"The probabilities are calibrated on the validation split, {place}. Expected" in body


def test_settings_and_versions() -> None:
    _, body = card()
    rows = table(body)
    assert [rows[key] for key in SUMMARY.settings] == [["3"], ["5e-05"], ["1000000"], ["0"]]
    assert "Trained with torch 2.13.0." in body
    assert (
        "configuration `plain`, revision `1111111111111111111111111111111111111111` (43,410 train, 5,427 test)" in body
    )


def test_limits_name_the_labels_that_they_are_about() -> None:
    _, body = card()
    assert "- Fewer than 30 texts of the test split have joy: their F1 is uncertain." in body
    assert "- F1 is below 0.4 for anger: expect many" in body
    good = {f"test_{key}/{label}": 40.0 for key in ("support", "f1") for label in ("joy", "anger")}
    assert "Fewer than" not in card(RESULTS | good)[1]
    assert "F1 is below" not in card(RESULTS | good)[1]


def test_probes_are_in_a_table_with_how_far_few_texts_reach() -> None:
    results = {"mixed_scripts/Arabic/num_texts": 25.0, "mixed_scripts/Arabic/num_left_out": 0.0}
    results |= {"mixed_scripts/Arabic/found": 0.32, "none/English/num_texts": 0.0, "none/English/num_left_out": 4.0}
    limits = card(probes=results)[1].partition("## Limits")[2]
    assert "among their three most probable of 2; *misled*" in limits
    # 1.96 * sqrt(0.25 / 25)
    assert "of 25 a share is uncertain by up to 20 points to either side.\n" in limits
    assert "| mixed scripts | Arabic | 25 | 0 | 0.320 | – |\n\n## Citation" in limits
    results |= {"sarcasm/English/num_texts": 100.0, "sarcasm/English/num_left_out": 3.0, "sarcasm/English/found": 0.5}
    limits = card(probes=results | {"sarcasm/English/misled": 0.25})[1].partition("## Limits")[2]
    assert "| sarcasm | English | 100 | 3 | 0.500 | 0.250 |" in limits
    assert "Texts whose emotion is none of the model's labels are left out." in limits
    assert "*misled*" not in card()[1]


def test_intended_use_names_languages_and_their_data_sets() -> None:
    origin = {"dataset": None, "files": {"train": "train.csv"}, "evaluated_only": False}
    languages = {"tweets": "ar", "arq": "arq", "news": "ar", "emoji": None}
    sources = {name: origin | {"language": code} for name, code in languages.items()}
    sources["later"] = origin | {"language": "fr", "evaluated_only": True}
    _, body = card(summary=replace(SUMMARY, sources=sources))
    use = body.partition("## Intended use\n\n")[2]
    assert use.startswith(
        "It was made for the study of emotions in many short texts like those that it was trained on: "
        "ar (tweets and news), arq.\nThe emotions are"
    )
    assert "emotions in many short texts.\nThe emotions are" in card()[1]


def test_languages_and_scripts() -> None:
    metadata, body = card(config=our_config(scripts=["Arabic", "Latin"]), languages=["pt-BR", "arq", "pt"])
    assert metadata["language"] == ["pt", "arq"]
    assert "Languages: pt-BR, arq, pt. Trained on texts in Arabic and Latin script.\n" in body
    assert "in Arabic and Latin script only. An answer to a text in another one names that script as" in body
    assert "unfamiliar" not in card(config=stock_config(scripts=["Latin"]))[1]
    assert "script only" in card(config=stock_config(scripts=["Latin"]))[1]
    # A model that does not know them.
    assert not [line for line in card()[1].splitlines() if " script" in line and "scripts." not in line]


def test_metadata_is_accepted_by_the_hub_library() -> None:
    text = render_card(CardContext(our_config(), RESULTS, SUMMARY, "user/repo", **PUBLISHED))
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    assert data.base_model == ["google-bert/bert-base-uncased", "FacebookAI/roberta-base"]
    assert data["base_model_relation"] == "finetune"
    assert data.language == ["en", "ar"]
    assert data.license == "apache-2.0"
    assert data.datasets == ["user/emotions"]
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-classification"
    assert data.tags is not None
    assert "custom_code" in data.tags
    assert data.metrics == ["f1"]
    name, results = model_index_to_eval_results(data.to_dict()["model-index"])
    assert name == "repo"
    assert [(entry.metric_name, entry.metric_value) for entry in results] == [("Macro F1", 0.5123), ("Micro F1", 0.6)]
    assert {(entry.dataset_type, entry.dataset_config, entry.dataset_split) for entry in results} == {
        ("user/emotions", "plain", "test")
    }
    assert results[0].dataset_revision == "1" * 40


def test_evaluation_entries_are_accepted_by_the_hub_library() -> None:
    config = our_config(thresholds=[0.3, 0.5])
    entries = evaluation_entries(CardContext(config, RESULTS, SUMMARY, "user/repo"))
    assert entries is not None
    (entry,) = parse_eval_result_entries(entries)
    assert (entry.dataset_id, entry.task_id, entry.value) == ("user/emotions", "plain", 0.5123)
    assert entry.dataset_revision == "1" * 40
    assert entry.source_url == "https://huggingface.co/user/repo"
    assert entry.notes == "macro-F1 on the test split; thresholds per label from the validation split"
    other = replace(SUMMARY, dataset_config=None, dataset_revision="main")
    untuned = our_config(thresholds=[0.5, 0.5])
    entries = evaluation_entries(CardContext(untuned, RESULTS, other, "user/repo"))
    (entry,) = parse_eval_result_entries(entries or [])
    assert (entry.task_id, entry.dataset_revision) == ("default", None)
    assert entry.notes == "macro-F1 on the test split; every threshold 0.5"
    assert evaluation_entries(CardContext(config, {"validation_macro_f1": 0.9}, SUMMARY, "user/repo")) is None
    assert evaluation_entries(CardContext(config, RESULTS, replace(SUMMARY, dataset=None), "user/repo")) is None


def test_examples_go_to_the_widget_and_to_a_table() -> None:
    metadata, body = card(**PUBLISHED)
    assert metadata["widget"] == [{"text": entry["text"], "output": entry["output"]} for entry in EXAMPLES]
    assert "| so happy \\| really | joy 0.91 |\n| آه | none over its threshold |\n" in body
    assert 'classifier("so happy | really")' in body
    assert "widget" not in card()[0]


def test_published_snippets_are_pinned() -> None:
    _, body = card(**PUBLISHED)
    assert body.count('"user/repo"') == 3
    assert body.count("v1.0.0") == 3
    assert "main" not in body.partition("## Encoders")[0]
    assert 'pip install "numpy>=' in body
    assert "put the hash of a commit in its place" in card(**(PUBLISHED | {"revision": "main"}))[1]
    assert "# repo\n" in body
    assert "handler.py" in body


def test_a_card_before_publishing_names_the_folder_and_no_repository() -> None:
    metadata, body = card(location="./output")
    assert "license" not in metadata
    assert 'model="./output",\n    trust_remote_code=True,\n' in body
    assert "`./output` is this folder, seen from the one that holds it." in body
    assert "# mine\n" in body
    assert "revision=" not in body
    assert "handler.py" not in body


def test_a_stock_model_needs_no_code() -> None:
    metadata, body = card(
        config=stock_config(thresholds=[0.1, 0.2]), summary=replace(SUMMARY, teachers=["user/stack"]), **PUBLISHED
    )
    assert "custom_code" not in metadata["tags"]
    assert "trust_remote_code" not in body
    assert "pip install torch transformers\n" in body
    assert "A stock `BertForSequenceClassification`" in body
    assert "enumerate(config.thresholds)" in body
    assert "Distilled from [user/stack](https://huggingface.co/user/stack)." in body
    assert 'emotion["score"] >= 0.5' in card(config=stock_config(), **PUBLISHED)[1]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"mixer": "meta_learner"},
            "Text → `a`, `b` and `c`, stacked word by word → a meta-learner that weighs the encoders word by word → "
            "a Bi-LSTM (1 x 128 per direction) → attention pooling → one probability per label.",
        ),
        (
            {"mixer": "convolutions", "convolution_widths": [1, 4], "lstm_num_layers": 0, "pooling": "max"},
            "stacked word by word → convolutions over 1, 4 words → max pooling → one",
        ),
        ({"mixer": "none", "encoders": {"x": BertConfig().to_dict()}}, "Text → the encoder `x`, averaged per word →"),
    ],
)
def test_architecture_is_told(fields: dict[str, Any], expected: str) -> None:
    config = our_config()
    for name, value in fields.items():
        setattr(config, name, value)
    assert expected in card(config=config)[1]


def test_files_are_named_where_the_data_are_not_on_the_hub() -> None:
    files = replace(SUMMARY, dataset=None, dataset_config=None, files={"train": "train.csv", "test": "test.csv"})
    metadata, body = card(summary=files)
    assert "Trained on `train.csv`, a file that is not published here (43,410 train" in body
    assert "datasets" not in metadata
    dataset = metadata["model-index"][0]["results"][0]["dataset"]
    assert (dataset["type"], dataset["name"]) == ("unknown", "test.csv")
    assert "data that its author has not recorded" in card(summary=TrainingSummary("mine"))[1]


def test_figures_and_onnx_are_shown_where_they_are() -> None:
    _, body = card(figures=["label_correlation.png", "reliability.png"], onnx=True, **PUBLISHED)
    assert "(reliability.png)" in body
    assert "(label_correlation.png)" in body
    assert "hf download user/repo --revision v1.0.0 --local-dir model" in body
    _, body = card()
    assert ".png" not in body
    assert "onnx" not in body


def test_encoders_and_their_licences() -> None:
    encoders = {"a": MINILM, "b": ARABERT, "c": "from scratch", "d": "user/own", "e": "UBC-NLP/MARBERTv2"}
    metadata, body = card(summary=replace(SUMMARY, encoders=encoders), **(PUBLISHED | {"license": "other"}))
    rows = table(body)
    assert rows["a"] == [f"[{MINILM}](https://huggingface.co/{MINILM})", "apache-2.0"]
    assert rows["b"][1] == "[arabert](https://github.com/aub-mind/arabert/blob/master/LICENSE)"
    assert rows["c"] == ["from scratch", "–"]
    assert rows["d"][1] == "not checked: see its model card"
    assert rows["e"][1] == "none stated by its authors"
    assert metadata["base_model"] == [MINILM, ARABERT, "user/own", "UBC-NLP/MARBERTv2"]
    assert (metadata["license"], metadata["license_name"]) == ("other", "arabert")
    assert metadata["license_link"] == "https://github.com/aub-mind/arabert/blob/master/LICENSE"
    assert "published under [arabert](https://github.com" in body
    assert "base_model" not in card(summary=replace(SUMMARY, encoders={"a": "from scratch"}))[0]


def test_weights_of_the_encoders() -> None:
    assert "meta-learner gives" not in card()[1]
    weights = {"test_encoder_weight/a": 0.5, "test_encoder_weight/b": 0.3, "test_encoder_weight/c": 0.2}
    _, body = card(RESULTS | weights)
    assert table(body)["all texts"] == ["0.500", "0.300", "0.200"]
    assert "nearly all" not in body
    weights = {"test_encoder_weight/a": 0.01, "test_encoder_weight/b": 0.99, "test_encoder_weight/c": 0.0}
    assert "`b` has nearly all of it, so that this is one encoder rather than a stack" in card(RESULTS | weights)[1]


def test_a_licence_without_identifier_needs_an_encoder_that_has_it() -> None:
    with pytest.raises(ValueError, match="`license` must be an identifier of the Hub; 'other' is for"):
        card(**(PUBLISHED | {"license": "other"}))


@pytest.mark.parametrize(
    ("origin", "license"),
    [(MINILM, "apache-2.0"), (MINILM, "mit"), (ARABERT, "other"), ("facebook/fasttext-en-vectors", "cc-by-sa-4.0")],
)
def test_licences_that_fit(origin: str, license: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_licenses([find_encoder(origin), find_encoder("from scratch")], license)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (find_encoder(ARABERT), "`license` must be 'other', got 'apache-2.0'.*aub-mind/arabert/blob/master/LICENSE"),
        (find_encoder("facebook/fasttext-en-vectors"), "must be 'cc-by-sa-3.0'.*huggingface.co/facebook/fasttext-en"),
        (Encoder("user/own", license="cc-by-nc-4.0"), "must be a non-commercial one, got 'apache-2.0'"),
    ],
)
def test_licences_that_an_encoder_forbids(encoder: Encoder, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_licenses([find_encoder(MINILM), encoder], "apache-2.0")


@pytest.mark.parametrize(
    ("origin", "message"),
    [("UBC-NLP/MARBERTv2", "its authors state no licence"), ("user/own", "this project does not know its licence")],
)
def test_unknown_licences_are_a_warning(origin: str, message: str) -> None:
    with pytest.warns(UserWarning, match=f"{origin}: {message}"):
        check_licenses([find_encoder(origin)], "apache-2.0")


def test_encoders_of_the_recipes_are_known() -> None:
    assert find_encoder("roberta-base") is find_encoder("FacebookAI/roberta-base")
    assert find_encoder(ARABERT).languages == find_encoder("UBC-NLP/MARBERTv2").languages == ("ar",)
    assert find_encoder("intfloat/multilingual-e5-small").license == "mit"
    assert not find_encoder("my-bert (not on the Hub)").on_hub
    assert find_encoder("my-bert (not on the Hub)").license_text == "unknown"


def test_a_summary_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_summary(tmp_path) == TrainingSummary(tmp_path.name)
    (tmp_path / "training_summary.json").write_text(SUMMARY.to_json(), encoding="utf-8")
    assert read_summary(tmp_path) == SUMMARY


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "a", "speed": 1}', "{}"])
def test_a_wrong_summary_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "training_summary.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"training_summary\.json is not the summary of a training"):
        read_summary(tmp_path)


def test_card_of_a_training_has_its_numbers(trained: Trained) -> None:
    text = (trained.folder / "README.md").read_text(encoding="utf-8")
    rows = table(text)
    thresholds = json.loads((trained.folder / "config.json").read_text(encoding="utf-8"))["thresholds"]
    for key in ("macro_f1", "samples_jaccard", "macro_roc_auc"):
        assert rows[key][0] == f"{trained.results[f'test_{key}']:.3f}"
    assert rows["fear"][:2] == [f"{trained.results['test_support/fear']:.0f}", f"{thresholds[1]:.3f}"]
    assert rows["num_train_epochs"] == ["2"]
    assert rows["words"] == ["from scratch", "–"]
    assert 'model="./output"' in text
    assert "(reliability.png)" in text
    assert str(trained.data) not in text


def test_summary_of_a_training_holds_no_path_of_this_machine(trained: Trained) -> None:
    summary = read_summary(trained.folder)
    assert summary.name == "recipe"
    assert summary.encoders == {"words": "from scratch", "bytes": "from scratch"}
    assert summary.files == {split: f"{split}.jsonl" for split in ("train", "validation", "test")}
    assert summary.num_texts == {"train": 60, "validation": 30, "test": 30}
    assert summary.settings["seed"] == 7
    assert summary.settings["training_mode"] == "joint"
    assert list(summary.versions) == ["transformers", "torch"]
    assert str(trained.data) not in summary.to_json()


def test_card_has_the_data_sets_the_agreement_and_the_warnings() -> None:
    data = {"dataset": "user/emotions", "dataset_config": None, "dataset_revision": None, "files": {}}
    own = {**data, "dataset": None, "files": {"train": "a.csv", "test": "b.csv"}}
    sources = {
        "hub": data | {"language": "en", "evaluated_only": False},
        "own": own | {"language": None, "evaluated_only": True},
    }
    summary = TrainingSummary("mine", sources=sources, agreement={"joy": 0.256}, warnings=["It went wrong."])
    results = RESULTS | {"test/hub/num_texts": 1200.0, "test/hub/macro_f1": 0.25}
    metadata, body = card(results, summary)
    assert metadata["datasets"] == ["user/emotions"]
    assert table(body)["hub"] == ["user/emotions", "en", "trained on", "1,200", "0.250", "–", "–"]
    assert table(body)["own"] == ["a.csv, b.csv", "–", "evaluated only", "–", "–", "–", "–"]
    assert "Trained on 2 data sets together." in body
    assert "Krippendorff's alpha: joy 0.26." in body
    assert body.partition("## Limits")[2].startswith("\n\n- It went wrong.\n- The model repeats")


def test_page_for_the_browser_is_linked_to() -> None:
    link = "[In your browser](https://huggingface.co/spaces/user/repo-browser)"
    assert link in card(page="user/repo-browser", **PUBLISHED)[1]
    assert "In your browser" not in card(**PUBLISHED)[1]
