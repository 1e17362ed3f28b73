# SPDX-License-Identifier: Apache-2.0
"""Tests of configuration_stacked_emotion: every field is checked, and JSON gives back what was saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, BertConfig, ElectraConfig

from modeling_stacked_emotion import StackedEmotionConfig, decision_thresholds

BERT = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2).to_dict()
ELECTRA = ElectraConfig(hidden_size=40, num_hidden_layers=1, num_attention_heads=2).to_dict()

INVALID = [
    ({"encoders": [1]}, TypeError, r"`encoders` must be a dict of name to configuration, got list\."),
    ({"encoders": {}}, ValueError, r"`encoders` must name at least one encoder, got an empty dict\."),
    ({"encoders": {"a-b": BERT}}, ValueError, r"name must be letters, digits and underscores.*got 'a-b'\."),
    ({"encoders": {"1a": BERT}}, ValueError, r"starting with a letter, got '1a'\."),
    ({"encoders": {"a.b": BERT}}, ValueError, r"got 'a\.b'\."),
    ({"encoders": {"../a": BERT}}, ValueError, r"got '\.\./a'\."),
    ({"encoders": {"a\n": BERT}}, ValueError, r"got 'a\\n'\."),
    ({"encoders": {3: BERT}}, ValueError, r"starting with a letter, got 3\."),
    ({"encoders": {"a": 3}}, TypeError, r"`encoders\['a'\]` must be a dict \(`config.to_dict\(\)`\), got int\."),
    ({"encoders": {"a": BertConfig()}}, TypeError, r"must be a dict \(`config.to_dict\(\)`\), got BertConfig\."),
    (
        {"encoders": {"a": BERT | {"auto_map": {"AutoModel": "x.Y"}}}},
        ValueError,
        r"`encoders\['a'\]` carries `auto_map`: encoders with remote code are not accepted\.",
    ),
    ({"encoders": {"a": BERT | {"auto_map": {}}}}, ValueError, r"`encoders\['a'\]` carries `auto_map`"),
    ({"encoders": {"a": BERT | {"auto_map": None}}}, ValueError, r"`encoders\['a'\]` carries `auto_map`"),
    ({"encoders": {"a": {}}}, ValueError, r"`encoders\['a'\]` needs .* or static_words, got None\."),
    ({"encoders": {"a": {"model_type": "no-such"}}}, ValueError, r"knows, or static_words, got 'no-such'\."),
    ({"encoders": {"a": {"model_type": ["bert"]}}}, ValueError, r"knows, or static_words, got \['bert'\]\."),
    (
        {"encoders": {"a": {"model_type": "t5", "is_encoder_decoder": True}}},
        ValueError,
        r"`encoders\['a'\]` is an encoder-decoder \(t5\): use an encoder-only model\.",
    ),
    (
        {"mixer": "attention"},
        ValueError,
        r"`mixer` must be one of meta_learner, convolutions, none, got 'attention'\.",
    ),
    ({"mixer": None}, ValueError, r"`mixer` must be one of meta_learner, convolutions, none, got None\."),
    ({"pooling": "cls"}, ValueError, r"`pooling` must be one of attention, mean, max, last, got 'cls'\."),
    ({"pooling": "last", "lstm_num_layers": 0}, ValueError, r"`lstm_num_layers` must be at least 1\."),
    ({"encoders": {"half": BERT}}, ValueError, r"cannot be called 'half': torch\.nn\.ModuleDict has a member"),
    ({"skip_connection": 1}, TypeError, r"`skip_connection` must be true or false, got 1\."),
    ({"source_thresholds": [[0.5]]}, TypeError, "`source_thresholds` must map data sets to thresholds"),
    ({"weighted_skip_connection": True, "mixer": "none"}, ValueError, "`weighted_skip_connection` needs `skip_"),
    ({"weighted_skip_connection": True, "skip_connection": False}, ValueError, "`weighted_skip_connection` needs"),
    ({"meta_hidden_size": 0}, ValueError, r"`meta_hidden_size` must be at least 1, got 0\."),
    ({"meta_hidden_size": 2.0}, TypeError, r"`meta_hidden_size` must be an integer, got 2\.0\."),
    ({"lstm_hidden_size": 0}, ValueError, r"`lstm_hidden_size` must be at least 1, got 0\."),
    ({"lstm_hidden_size": True}, TypeError, r"`lstm_hidden_size` must be an integer, got True\."),
    ({"lstm_num_layers": -1}, ValueError, r"`lstm_num_layers` must be at least 0, got -1\."),
    ({"lstm_num_layers": "1"}, TypeError, r"`lstm_num_layers` must be an integer, got '1'\."),
    ({"dropout": 1.0}, ValueError, r"`dropout` must be a number in \[0, 1\), got 1\.0\."),
    ({"dropout": -0.1}, ValueError, r"`dropout` must be a number in \[0, 1\), got -0\.1\."),
    ({"dropout": "0.1"}, ValueError, r"`dropout` must be a number in \[0, 1\), got '0\.1'\."),
    ({"dropout": True}, ValueError, r"`dropout` must be a number in \[0, 1\), got True\."),
    ({"dropout": float("nan")}, ValueError, r"`dropout` must be a number in \[0, 1\), got nan\."),
    ({"word_dropout": 1}, ValueError, r"`word_dropout` must be a number in \[0, 1\), got 1\."),
    (
        {"convolution_widths": []},
        ValueError,
        r"`convolution_widths` must name at least one width and each once, got \[\]",
    ),
    ({"convolution_widths": [2, 2]}, ValueError, r"at least one width and each once, got \[2, 2\]\."),
    ({"convolution_widths": [0, 2]}, ValueError, r"must be a list of integers of at least 1, got \[0, 2\]\."),
    ({"convolution_widths": [True]}, ValueError, r"must be a list of integers of at least 1, got \[True\]\."),
    ({"convolution_hidden_size": 0}, ValueError, r"`convolution_hidden_size` must be at least 1, got 0\."),
    ({"prior_probability": 0.0}, ValueError, r"`prior_probability` must be a number in \(0, 1\), got 0\.0\."),
    ({"prior_probability": 1}, ValueError, r"`prior_probability` must be a number in \(0, 1\), got 1\."),
    ({"initializer_range": 0}, ValueError, r"`initializer_range` must be a number above 0, got 0\."),
    ({"initializer_range": float("inf")}, ValueError, r"`initializer_range` must be a number above 0, got inf\."),
    ({"id2label": ["joy"]}, TypeError, r"`id2label` must be a dict of id to label, got list\."),
    ({"id2label": {"x": "joy"}}, ValueError, r"`id2label` must number .* from 0 without gaps, got the ids \['x'\]\."),
    ({"id2label": {0: "joy", 2: "fear"}}, ValueError, r"from 0 without gaps, got the ids \[0, 2\]\."),
    ({"id2label": {1: "joy"}}, ValueError, r"from 0 without gaps, got the ids \[1\]\."),
    ({"id2label": {-1: "joy", 0: "fear"}}, ValueError, r"from 0 without gaps, got the ids \[-1, 0\]\."),
    ({"id2label": {}}, ValueError, r"from 0 without gaps, got the ids \[\]\."),
    ({"num_labels": 0}, ValueError, r"from 0 without gaps, got the ids \[\]\."),
    ({"id2label": {0: "joy", 1: 1}}, TypeError, r"`id2label` must name every label by a string, got \['joy', 1\]\."),
    ({"id2label": {0: "joy", 1: "joy"}}, ValueError, r"must name every label once, got \['joy', 'joy'\]\."),
    (
        {"id2label": {0: "joy"}, "num_labels": 3},
        ValueError,
        r"`num_labels` is 3, but `id2label` names 1 labels: pass only one\.",
    ),
    ({"languages": "en"}, TypeError, r"`languages` must be a list of strings, got 'en'\."),
    ({"scripts": [1]}, TypeError, r"`scripts` must be a list of strings, got \[1\]\."),
    ({"thresholds": (0.5, 0.5)}, TypeError, r"`thresholds` must be a list of floats, got tuple\."),
    ({"thresholds": [0.5]}, ValueError, r"`thresholds` must have one value per label \(2\), got 1\."),
    ({"thresholds": [0.5, 1.5]}, ValueError, r"`thresholds\[LABEL_1\]` must be a number in \[0, 1\], got 1\.5\."),
    ({"thresholds": ["a", 0.5]}, ValueError, r"`thresholds\[LABEL_0\]` must be a number in \[0, 1\], got 'a'\."),
    ({"thresholds": [0.5, float("nan")]}, ValueError, r"`thresholds\[LABEL_1\]` must be .*, got nan\."),
    ({"calibration_scale": [1.0, 2.0]}, ValueError, r"set both or neither, got \[1\.0, 2\.0\] and None\."),
    ({"calibration_bias": [1.0, 2.0]}, ValueError, r"set both or neither, got None and \[1\.0, 2\.0\]\."),
    ({"calibration_scale": 2.0}, TypeError, r"`calibration_scale` must be a list of floats, got float\."),
    ({"calibration_bias": (0.0, 0.0)}, TypeError, r"`calibration_bias` must be a list of floats, got tuple\."),
    ({"calibration_scale": [1.0]}, ValueError, r"`calibration_scale` must have one value per label \(2\), got 1\."),
    ({"calibration_bias": [0.0] * 3}, ValueError, r"`calibration_bias` must have one value per label \(2\), got 3\."),
    (
        {"calibration_scale": [1.0, 0.0]},
        ValueError,
        r"`calibration_scale\[LABEL_1\]` must be a number above 0 and finite, got 0\.0\.",
    ),
    ({"calibration_scale": [-1.0, 1.0]}, ValueError, r"`calibration_scale\[LABEL_0\]` must be .*, got -1\.0\."),
    ({"calibration_scale": [float("inf"), 1.0]}, ValueError, r"`calibration_scale\[LABEL_0\]` must .*, got inf\."),
    (
        {"calibration_bias": [0.0, float("nan")]},
        ValueError,
        r"`calibration_bias\[LABEL_1\]` must be a number that is finite, got nan\.",
    ),
    ({"calibration_bias": ["0", 0.0]}, ValueError, r"`calibration_bias\[LABEL_0\]` must be .*, got '0'\."),
]


@pytest.mark.parametrize(("fields", "error", "message"), INVALID)
def test_invalid_fields_are_refused(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        StackedEmotionConfig(**fields)
    assert "\n" not in str(caught.value)


def test_limits_themselves_are_valid() -> None:
    config = StackedEmotionConfig(
        encoders={"a": BERT},
        meta_hidden_size=1,
        lstm_hidden_size=1,
        lstm_num_layers=0,
        dropout=0,
        thresholds=[0, 1.0],
        calibration_scale=[1, 1e-3],
        calibration_bias=[0, -100.0],
    )
    assert (config.lstm_num_layers, config.dropout, config.thresholds) == (0, 0, [0, 1.0])
    assert (config.calibration_scale, config.calibration_bias) == ([1, 1e-3], [0, -100.0])


def test_defaults() -> None:
    config = StackedEmotionConfig()
    assert config.encoders is None
    assert (config.mixer, config.pooling, config.lstm_num_layers) == ("meta_learner", "attention", 1)
    assert (config.meta_hidden_size, config.lstm_hidden_size) == (128, 128)
    assert (config.dropout, config.prior_probability, config.initializer_range) == (0.1, 0.05, 0.02)
    assert (config.convolution_widths, config.convolution_hidden_size, config.word_dropout) == ([1, 2, 3], 128, 0.0)
    assert config.thresholds is None
    assert config.calibration_scale is None
    assert config.calibration_bias is None
    assert config.num_labels == 2


def test_the_task_is_always_multi_label() -> None:
    # Anything else, or nothing at all, would make the stock pipeline take a softmax.
    assert StackedEmotionConfig().problem_type == "multi_label_classification"
    config = StackedEmotionConfig(problem_type="single_label_classification", num_labels=1)
    assert config.problem_type == "multi_label_classification"


def test_labels_follow_their_ids() -> None:
    config = StackedEmotionConfig(id2label={1: "joy", "0": "fear", 2: "غضب"}, label2id={"joy": 7})
    assert config.labels == ["fear", "joy", "غضب"]
    assert config.label2id == {"fear": 0, "joy": 1, "غضب": 2}
    assert config.num_labels == 3
    assert StackedEmotionConfig(num_labels=3).labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert StackedEmotionConfig(num_labels=1, id2label={0: "joy"}).labels == ["joy"]


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({"num_labels": 2}, ["LABEL_0", "LABEL_1"]),
        ({"id2label": {0: "joy", 1: "awe"}}, ["joy", "awe"]),
        ({"id2label": {"0": "joy"}, "num_labels": 1, "label2id": {"joy": 0}}, ["joy"]),
    ],
)
def test_a_saved_config_may_be_loaded_for_other_labels(
    tmp_path: Path, options: dict[str, Any], labels: list[str]
) -> None:
    numbers = dict.fromkeys(("thresholds", "class_weights", "calibration_scale", "calibration_bias"), [0.5] * 3)
    saved = StackedEmotionConfig(num_labels=3, label_correlation=[[1.0, 0.0, 0.0]] * 3, dropout=0.3, **numbers)
    saved.save_pretrained(tmp_path)
    for config in (
        StackedEmotionConfig.from_pretrained(tmp_path, **options),
        saved.from_dict(saved.to_dict(), **options),
    ):
        assert config.labels == labels
        assert config.label2id == {label: index for index, label in enumerate(labels)}
        assert not any(getattr(config, field) for field in (*numbers, "label_correlation"))
        assert config.dropout == 0.3
        config.save_pretrained(tmp_path / "new")
    # Of as many labels, under other names, all is kept.
    names = {0: "a", 1: "b", 2: "c"}
    config, unused = StackedEmotionConfig.from_pretrained(
        tmp_path, id2label=names, no_field=1, return_unused_kwargs=True
    )
    assert (config.id2label, config.label2id, unused) == (names, {"a": 0, "b": 1, "c": 2}, {"no_field": 1})
    assert config.thresholds == [0.5] * 3
    assert StackedEmotionConfig.from_pretrained(tmp_path, num_labels=3).thresholds == [0.5] * 3


def test_encoders_are_ordered_by_name() -> None:
    config = StackedEmotionConfig(encoders={"b": BERT, "C": ELECTRA, "a": ELECTRA})
    assert config.encoders is not None
    assert list(config.encoders) == ["C", "a", "b"]
    assert config.encoders["b"] == BERT


def test_round_trip_through_json(tmp_path: Path) -> None:
    config = StackedEmotionConfig(
        encoders={"wp": BERT, "uni": ELECTRA},
        mixer="none",
        meta_hidden_size=7,
        convolution_widths=[4, 2],
        convolution_hidden_size=6,
        word_dropout=0.5,
        lstm_hidden_size=5,
        lstm_num_layers=2,
        pooling="max",
        dropout=0.25,
        prior_probability=0.1,
        initializer_range=0.01,
        thresholds=[0.25, 0.5, 1.0],
        calibration_scale=[0.1, 1.0, 2.0],
        calibration_bias=[-0.3, 0.0, 1.0],
        languages=["ar", "pt-BR"],
        scripts=["Arabic", "Latin"],
        id2label={0: "joy", 1: "fear", 2: "غضب"},
    )
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert saved["model_type"] == "stacked_emotion"
    assert saved["auto_map"] == {
        "AutoConfig": "configuration_stacked_emotion.StackedEmotionConfig",
        "AutoModel": "modeling_stacked_emotion.StackedEmotionModel",
        "AutoModelForSequenceClassification": ("modeling_stacked_emotion.StackedEmotionForSequenceClassification"),
    }
    assert saved["custom_pipelines"]["emotion-classification"]["impl"] == (
        "pipeline_stacked_emotion.StackedEmotionPipeline"
    )
    for loaded in (StackedEmotionConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is StackedEmotionConfig
        assert loaded.labels == ["joy", "fear", "غضب"]
        assert loaded.thresholds == [0.25, 0.5, 1.0]
        assert (loaded.calibration_scale, loaded.calibration_bias) == ([0.1, 1.0, 2.0], [-0.3, 0.0, 1.0])
        assert (loaded.languages, loaded.scripts) == (["ar", "pt-BR"], ["Arabic", "Latin"])
        assert loaded.encoders == {"uni": ELECTRA, "wp": BERT}
        assert (loaded.mixer, loaded.pooling, loaded.lstm_num_layers) == ("none", "max", 2)
        assert (loaded.meta_hidden_size, loaded.lstm_hidden_size) == (7, 5)
        assert (loaded.convolution_widths, loaded.convolution_hidden_size) == ([4, 2], 6)
        assert loaded.word_dropout == 0.5
        assert (loaded.dropout, loaded.prior_probability, loaded.initializer_range) == (0.25, 0.1, 0.01)


def test_the_class_references_stay_flat_wherever_a_file_came_from() -> None:
    config = StackedEmotionConfig(auto_map={"AutoConfig": "someone/else--evil.Config"})
    assert config.auto_map["AutoConfig"] == "configuration_stacked_emotion.StackedEmotionConfig"


def test_a_saved_file_is_checked_when_it_is_loaded(tmp_path: Path) -> None:
    StackedEmotionConfig(encoders={"a": BERT}).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    saved["encoders"]["a"]["auto_map"] = {"AutoModel": "evil.Model"}
    file.write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(ValueError, match="carries `auto_map`"):
        StackedEmotionConfig.from_pretrained(tmp_path)


def test_a_changed_field_is_checked_when_it_is_saved(tmp_path: Path) -> None:
    config = StackedEmotionConfig(encoders={"a": BERT})
    config.thresholds = [0.1]
    with pytest.raises(ValueError, match=r"one value per label \(2\), got 1"):
        config.save_pretrained(tmp_path)
    config.thresholds = [0.1, 0.9]
    config.save_pretrained(tmp_path)
    assert StackedEmotionConfig.from_pretrained(tmp_path).thresholds == [0.1, 0.9]


def test_decision_thresholds_are_the_configs_own_or_one_half() -> None:
    assert decision_thresholds(StackedEmotionConfig(thresholds=[0.0, 0.25])) == [0.0, 0.25]
    assert decision_thresholds(StackedEmotionConfig(num_labels=3)) == [0.5, 0.5, 0.5]
    assert decision_thresholds(BertConfig(num_labels=4)) == [0.5] * 4


def test_two_configurations_share_nothing() -> None:
    first, second = StackedEmotionConfig(), StackedEmotionConfig()
    first.auto_map["AutoConfig"] = "x"
    first.custom_pipelines["emotion-classification"]["impl"] = "x"
    assert second.auto_map["AutoConfig"] == "configuration_stacked_emotion.StackedEmotionConfig"
    assert second.custom_pipelines["emotion-classification"]["impl"].startswith("pipeline_stacked_emotion")
