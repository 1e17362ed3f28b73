# SPDX-License-Identifier: Apache-2.0
"""Tests of reading recipes: YAML types, overrides and the errors of a slip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from recipe_samples import write_recipe

from trainer_ext.data.loading import read_file
from trainer_ext.encoders.pruned import PrunedEncoder
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import PretrainedEncoder
from trainer_ext.encoders.stack import encoder_source
from trainer_ext.errors import InputError
from trainer_ext.recipe import DataArguments, ModelArguments, Recipe, load_recipe
from trainer_ext.recipe_file import REMOVED_FIELDS
from trainer_ext.training.arguments import StackedEmotionTrainingArguments

ROOT = Path(__file__).parents[1]
# That of a distillation has fields of its own; see test_distillation.py.
RECIPES = sorted(path for path in (ROOT / "scripts" / "recipes").glob("*.yaml") if "distilled" not in path.stem)
# Everything else has a default; `precision` so that nothing is measured.
MINIMAL = "precision: fp32\noutput_dir: out\nuse_cpu: true\n"


def write(folder: Path, text: str | bytes) -> str:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return str(path)


def load(folder: Path, text: str, *overrides: str) -> Recipe:
    return load_recipe(write(folder, MINIMAL + text), overrides)


def one_line(*parts: str) -> str:
    return "^" + ".*".join(re.escape(part) for part in parts) + "[^\n]*$"


# ------------------------------------------------------------------------------------------------------ YAML's types


@pytest.mark.parametrize(
    ("text", "expected"), [("1e-4", 1e-4), ("0.5", 0.5), ("7", 7.0), ("1.5E-3", 1.5e-3), ("'2e-5'", 2e-5)]
)
def test_floats(tmp_path: Path, text: str, expected: float) -> None:
    recipe = load(tmp_path, f"learning_rate: {text}\n", "--head_learning_rate", text.strip("'"))
    for value in (recipe.training.learning_rate, recipe.training.head_learning_rate):
        assert type(value) is float
        assert value == expected


@pytest.mark.parametrize(
    ("line", "group", "expected"),
    [
        ("max_words: 32", "model", 32),
        ("save_only_model: true", "training", True),
        ("save_total_limit: null", "training", None),
        ("save_total_limit: 3", "training", 3),
        ("mixer: none", "model", "none"),
        ("train_split: 2024", "data", "2024"),
        ("dataset_revision: 1234567", "data", "1234567"),
        ("text_column: text", "data", "text"),
        ("validation_ratio: 0", "data", 0.0),
        ("encoders: {a: folder, b: {hidden_size: 8}}", "model", {"a": "folder", "b": {"hidden_size": 8}}),
        ("lr_scheduler_kwargs: {power: 2}", "training", {"power": 2}),
        ("label_names: labels.txt", "data", "labels.txt"),
    ],
)
def test_values_have_the_type_of_their_field(tmp_path: Path, line: str, group: str, expected: Any) -> None:
    name, _, text = line.partition(": ")
    for recipe in (load(tmp_path, line + "\n"), load(tmp_path, "", f"--{name}", text)):
        value = getattr(getattr(recipe, group), name)
        assert (type(value), value) == (type(expected), expected)


def test_no_and_off_are_words_and_only_true_and_false_are_booleans(tmp_path: Path) -> None:
    recipe = load(
        tmp_path, "eval_strategy: no\nload_best_model_at_end: False\n", "--save_strategy", "no", "--bf16", "TRUE"
    )
    assert (recipe.training.eval_strategy, recipe.training.save_strategy) == ("no", "no")
    assert recipe.training.load_best_model_at_end is False
    assert recipe.training.bf16 is True
    assert load(tmp_path, "label_names: [yes, no, on]\n").data.label_names == ["yes", "no", "on"]


def test_label_names_are_those_of_the_data(tmp_path: Path) -> None:
    recipe = load(tmp_path, "label_names: [joy, حزن]\n")
    assert recipe.data.label_names == ["joy", "حزن"]
    assert recipe.training.label_names is None


def test_defaults_fill_the_rest(tmp_path: Path) -> None:
    recipe = load(tmp_path, "seed: 7\n")
    assert recipe.data == DataArguments()
    assert recipe.model == ModelArguments()
    assert isinstance(recipe.training, StackedEmotionTrainingArguments)
    assert (recipe.training.seed, recipe.training.output_dir) == (7, "out")
    assert load(tmp_path, "").model.encoders is not recipe.model.encoders


# --------------------------------------------------------------------------------------------------------- overrides


def test_overrides(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        "train_file: a.csv\nseed: 1\nlstm_num_layers: 2\n"
        "encoders: {bert: old, words: {hidden_size: 8, dropout: 0.1}}\n",
        *("--seed", "2", "--encoders.bert", "some/folder", "--encoders.words.hidden_size", "16"),
        *("--encoders.third=new", "--normalizations.bert", "tweet", "--train_file", "null", "--save_only_model"),
        *("--dataset_name=a/b", "--max_steps", "-1", "--label_names", "[x, y]", "--test_file=a=b.csv"),
    )
    assert recipe.training.seed == 2
    assert recipe.model.encoders == {
        "bert": "some/folder",
        "words": {"hidden_size": 16, "dropout": 0.1},
        "third": "new",
    }
    assert recipe.model.normalizations == {"bert": "tweet"}
    assert (recipe.data.train_file, recipe.data.dataset_name, recipe.data.test_file) == (None, "a/b", "a=b.csv")
    assert recipe.data.label_names == ["x", "y"]
    assert recipe.training.save_only_model is True
    assert (recipe.training.max_steps, recipe.model.lstm_num_layers) == (-1, 2)


_HUB = "dataset_name: a/b\ndataset_config: x\n"
_FILES = "train_file: a\nvalidation_file: b\n"


@pytest.mark.parametrize(
    ("text", "overrides", "source"),
    [
        (_HUB, ["--train_file", "t.csv"], {"train_file": "t.csv"}),
        (_HUB, ["--train_file=t.csv", "--test_file=e.csv"], {"train_file": "t.csv", "test_file": "e.csv"}),
        (_HUB, ["--dataset_name", "c/d"], {"dataset_name": "c/d"}),
        (_HUB, ["--dataset_name", "c/d", "--dataset_config", "y"], {"dataset_name": "c/d", "dataset_config": "y"}),
        (_FILES, ["--dataset_name", "c/d"], {"dataset_name": "c/d"}),
        # Texts of another's validation and test split would decide on the user's model.
        (_FILES, ["--train_file", "t.csv"], {"train_file": "t.csv"}),
        (_FILES, ["--train_file", "t", "--validation_file", "b"], {"train_file": "t", "validation_file": "b"}),
        # Half of a source leaves the other one as it is, and so does one that is taken away.
        (_FILES, ["--test_file", "e.csv"], {"train_file": "a", "validation_file": "b", "test_file": "e.csv"}),
        (_FILES, ["--dataset_name", "null"], {"train_file": "a", "validation_file": "b"}),
        # Two sources are one too many: the reader of data says so.
        (_FILES, ["--dataset_name", "c/d", "--train_file", "t"], {"dataset_name": "c/d", "train_file": "t"}),
    ],
)
def test_one_source_takes_the_place_of_the_other(
    tmp_path: Path, text: str, overrides: list[str], source: dict[str, str]
) -> None:
    data = vars(load(tmp_path, text, *overrides).data)
    found = {name: data[name] for name in data if name.startswith("dataset_") or name.endswith("_file")}
    assert {name: value for name, value in found.items() if value} == source


def test_languages_are_those_of_the_data(tmp_path: Path) -> None:
    recipe = load(tmp_path, "train_file: a\nlanguages: [ar, pt-BR]\n")
    assert recipe.model.languages == ["ar", "pt-BR"]
    assert load(tmp_path, "languages: [ar]\n", "--train_file", "b").model.languages is None
    assert load(tmp_path, "languages: [ar]\n", "--train_file=b", "--languages=[en]").model.languages == ["en"]
    for code in ("Arabic", "a", "ar_EG", "7"):
        with pytest.raises(ValueError, match=f"`languages` must be codes such as ar, arq or pt-BR, got {code!r}"):
            load(tmp_path, f"languages: [{code}]\n")


def test_only_some_encoders(tmp_path: Path) -> None:
    text = "encoders: {a: x, b: y, c: z}\nnormalizations: {a: tweet, b: tweet}\nonly_encoders: [c, b]\n"
    recipe = load(tmp_path, text, "--encoders.b", "other")
    assert recipe.model.encoders == {"b": "other", "c": "z"}
    assert recipe.model.normalizations == {"b": "tweet"}
    for names in ("[a, d]", "[]"):
        with pytest.raises(ValueError, match=one_line("`only_encoders` must name some of a, b, c, got [")):
            load(tmp_path, text, "--only_encoders", names)


_STACK = (
    "encoders: {a: x, b: y, c: z}\nnormalizations: {a: tweet, b: tweet}\n"
    "encoder_learning_rates: {a: 1e-3, c: 2e-3}\nonly_encoders: [a, c]\n"
)


@pytest.mark.parametrize(
    ("overrides", "encoders", "normalizations", "rates"),
    [
        ([], ["a", "c"], {"a": "tweet"}, {"a": 1e-3, "c": 2e-3}),
        (["--encoders", "{c: new}"], ["c"], {}, {"c": 2e-3}),
        (["--encoders", "{b: new, d: new}"], ["b", "d"], {"b": "tweet"}, None),
        (["--encoders", "{d: new}", "--normalizations.d", "arabert"], ["d"], {"d": "arabert"}, None),
        (["--encoders", "{d: new}", "--encoder_learning_rates", "{d: 5}"], ["d"], {}, {"d": 5.0}),
        # One entry replaces no other.
        (["--encoders.d", "new"], ["a", "c"], {"a": "tweet"}, {"a": 1e-3, "c": 2e-3}),
        (["--only_encoders", "[b, c]"], ["b", "c"], {"b": "tweet"}, {"c": 2e-3}),
        # Of no encoder at all: a slip on the command line stays, and is an error where the model is built.
        (["--encoders", "{d: new}", "--normalizations.e", "tweet"], ["d"], {"e": "tweet"}, None),
        (["--encoders", "{d: new}", "--encoder_learning_rates.e", "1"], ["d"], {}, {"e": 1.0}),
    ],
)
def test_settings_go_with_the_encoders(
    tmp_path: Path,
    overrides: list[str],
    encoders: list[str],
    normalizations: dict[str, str],
    rates: dict[str, float] | None,
) -> None:
    recipe = load(tmp_path, _STACK, *overrides)
    assert list(recipe.model.encoders) == encoders
    assert recipe.model.normalizations == normalizations
    assert recipe.training.encoder_learning_rates == rates


def test_only_encoders_of_the_command_line_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=one_line("`only_encoders` must name some of d, got ['a'].")):
        load(tmp_path, _STACK, "--encoders", "{d: new}", "--only_encoders", "[a]")


def test_one_encoder_takes_the_place_of_a_recipe_s_stack() -> None:
    path = ROOT / "scripts" / "recipes" / "goemotions_stacked.yaml"
    recipe = load_recipe(str(path), ["--encoders", "{minilm: folder}", "--precision", "fp32", "--use_cpu"])
    assert recipe.model.encoders == {"minilm": "folder"}
    assert recipe.training.encoder_learning_rates is None


def test_settings_of_the_stages_go_with_them(tmp_path: Path) -> None:
    staged = "training_mode: staged\nhead_num_train_epochs: 3\nnum_folds: 5\n"
    assert load(tmp_path, staged).training.num_folds == 5
    training = load(tmp_path, staged, "--training_mode", "joint").training
    assert (training.training_mode, training.num_folds, training.head_num_train_epochs) == ("joint", 0, 10)
    message = one_line("`num_folds` is for `training_mode: staged`, got joint: leave it out.")
    # What counts is that it is given, not its value.
    for text, overrides in (("num_folds: 0\n", ()), ("", ("--num_folds", "0"))):
        with pytest.raises(ValueError, match=message):
            load(tmp_path, text, *overrides)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, staged, "--training_mode", "joint", "--num_folds", "5")


def test_last_override_counts(tmp_path: Path) -> None:
    assert load(tmp_path, "", "--seed", "2", "--seed=3").training.seed == 3


def test_flag_before_another_option_is_true(tmp_path: Path) -> None:
    recipe = load(tmp_path, "", "--bf16", "--seed", "2")
    assert (recipe.training.bf16, recipe.training.seed) == (True, 2)


def test_override_that_is_no_option_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=one_line("Expected `--field value`, got 'seed'.")):
        load(tmp_path, "", "seed", "2")


def test_entry_of_an_encoder_takes_the_place_of_its_id(tmp_path: Path) -> None:
    text = "encoders: {a: x/y, b: z}\n"
    recipe = load(tmp_path, text, "--encoders.a.trained", "outputs/first", "--encoders.a.encoder", "me5")
    assert recipe.model.encoders == {"a": {"trained": "outputs/first", "encoder": "me5"}, "b": "z"}


def test_entry_of_what_is_no_mapping_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=one_line("`--seed.first`: `seed` is not a mapping.")):
        load(tmp_path, "seed: 1\n", "--seed.first", "2")


def test_override_that_is_no_yaml_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=one_line("The value of `--label_names` is not YAML: ")):
        load(tmp_path, "", "--label_names", "[joy,")


# ------------------------------------------------------------------------------------------------------------ errors


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=one_line(f"There is no recipe {tmp_path / 'none.yaml'}.")):
        load_recipe(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    "text", ["a: [1", "a: b: c", "\tx: 1", b"a: \xff\xfe\xff", "a: !!bool maybe", "a: !!timestamp foo", "a: !!int x"]
)
def test_file_that_is_no_yaml_is_an_error(tmp_path: Path, text: str | bytes) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=one_line(f"{path} is not YAML: ")):
        load_recipe(path)


@pytest.mark.parametrize(("text", "kind"), [("- a\n- b\n", "list"), ("", "NoneType"), ("joy", "str"), ("3", "int")])
def test_file_that_is_no_mapping_is_an_error(tmp_path: Path, text: str, kind: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=one_line(f"{path} must be a mapping of fields, got {kind}.")):
        load_recipe(path)


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("learning_rat", "did you mean `learning_rate`?"),
        ("encoder", "did you mean `encoders`?"),
        ("lstm_hidden", "did you mean `lstm_hidden_size`?"),
        ("validation_files", "did you mean `validation_file`?"),
        ("qqqq", "`--help` lists them all."),
        ("3", "`--help` lists them all."),
    ],
)
def test_unknown_field_is_an_error_with_a_suggestion(tmp_path: Path, field: str, hint: str) -> None:
    for text, overrides in ((f"{field}: 1\n", ()), ("", (f"--{field}", "1"))):
        with pytest.raises(
            ValueError, match=one_line(f"recipe.yaml: unknown field `{field}`; {hint}").replace("^", "")
        ):
            load(tmp_path, text, *overrides)


@pytest.mark.parametrize(
    ("line", "kind", "got"),
    [
        ("learning_rate: fast", "float", "'fast'"),
        ("learning_rate: true", "float", "True"),
        ("num_train_epochs: [1]", "float", "[1]"),
        ("max_words: 1.5", "int", "1.5"),
        ("max_words: many", "int", "'many'"),
        ("max_words: null", "int", "None"),
        ("seed: true", "int", "True"),
        ("bf16: yes", "bool", "'yes'"),
        ("bf16: 1", "bool", "1"),
        ("mixer: null", "str", "None"),
        ("mixer: true", "str", "True"),
        ("pooling: [max]", "str", "['max']"),
        ("encoders: bert", "dict[str, Any]", "'bert'"),
        ("encoders: [bert]", "dict[str, Any]", "['bert']"),
        ("normalizations: tweet", "dict[str, str]", "'tweet'"),
        ("label_names: {joy: 1}", "list[str] | str | None", "{'joy': 1}"),
        ("train_file: [a, b]", "str | None", "['a', 'b']"),
    ],
)
def test_value_of_another_type_is_an_error(tmp_path: Path, line: str, kind: str, got: str) -> None:
    message = f"`{line.partition(':')[0]}` must be of type {kind}, got {got}."
    with pytest.raises(ValueError, match=one_line(message)):
        load(tmp_path, line + "\n")


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("threshold_strategy", "per_label, expected_f1, global, none"),
        ("calibration", "none, temperature, temperature_per_label, platt"),
        ("weights_dtype", "float32, float8"),
        ("mixer", "meta_learner, convolutions, none"),
        ("pooling", "attention, mean, max, last"),
        ("training_mode", "joint, staged"),
        ("ddp_backend", "nccl, gloo"),
    ],
)
def test_value_that_is_none_of_the_choices_is_an_error(tmp_path: Path, field: str, choices: str) -> None:
    with pytest.raises(ValueError, match=one_line(f"`{field}` must be one of {choices}", ", got 'best'.")):
        load(tmp_path, f"{field}: best\n")


@pytest.mark.parametrize("field", REMOVED_FIELDS)
def test_field_that_is_gone_is_an_error_with_the_way_to_do_it_now(tmp_path: Path, field: str) -> None:
    with pytest.raises(ValueError, match=one_line(f"recipe.yaml: there is no field `{field}` any more: ")[1:]):
        load(tmp_path, f"{field}: 1\n")


def test_negative_shrinkage_is_an_error(tmp_path: Path) -> None:
    for value, got in (("-1", "-1.0"), (".nan", "nan")):
        with pytest.raises(
            ValueError, match=one_line(f"`threshold_shrinkage` must be a number >= 0 or auto, got {got}.")
        ):
            load(tmp_path, f"threshold_shrinkage: {value}\n")


# -------------------------------------------------------------------------------------------------------- the recipes


def test_there_are_recipes() -> None:
    assert {path.stem for path in RECIPES} >= {"arabic_stacked", "goemotions_stacked", "quickstart"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(path), ["--output_dir", str(tmp_path), "--precision", "fp32", "--use_cpu"])
    assert recipe.training.output_dir == str(tmp_path)
    assert not recipe.training.bf16
    assert 0 < recipe.training.learning_rate < 0.1
    assert (recipe.data.dataset_name is None) != (recipe.data.train_file is None)
    assert recipe.model.encoders
    assert set(recipe.model.normalizations) <= set(recipe.model.encoders)
    for name, origin in recipe.model.encoders.items():
        source = encoder_source(name, origin)
        if isinstance(source, PrunedEncoder):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", source.pruned)
        elif isinstance(source, ScratchEncoder):
            assert source.max_tokens >= recipe.model.max_tokens
        elif isinstance(source, PretrainedEncoder):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", source.origin)
    files = [recipe.data.train_file, recipe.data.validation_file, recipe.data.test_file]
    for file in filter(None, files):
        # Those of BRIGHTER are the user's own copy.
        assert file.startswith("brighter/") or len(read_file(ROOT / file)[0]) > 20
    for name, source in recipe.data.named_sources().items():
        assert source.language or name == "emoji"
        assert source.evaluated_only or source.train_file


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [([], None), (["--resume_from_checkpoint"], True), (["--resume_from_checkpoint", "a/folder"], "a/folder")],
)
def test_resuming_is_a_flag_or_a_folder(tmp_path: Path, overrides: list[str], expected: bool | str | None) -> None:
    recipe = load_recipe(str(write_recipe(tmp_path)), overrides)
    assert recipe.training.resume_from_checkpoint == expected


# ----------------------------------------------------------------------------------------------------------- sources

_SOURCES = """
train_file: data/{source}/train.csv
test_file: data/{source}/test.csv
max_intensity: 3
sources:
  arq: {language: arq}
  eng: {weight: 2, max_intensity: null, label_map: {neutral: null}}
  swa: {evaluated_only: true, test_file: other.csv}
"""


def test_sources_share_the_fields_above_and_have_their_own(tmp_path: Path) -> None:
    sources = load(tmp_path, _SOURCES).data.named_sources()
    assert list(sources) == ["arq", "eng", "swa"]
    assert sources["arq"].reading()["train_file"] == "data/arq/train.csv"
    assert (sources["arq"].language, sources["arq"].max_intensity, sources["arq"].weight) == ("arq", 3.0, 1.0)
    assert (sources["eng"].weight, sources["eng"].max_intensity) == (2.0, None)
    assert sources["eng"].label_map == {"neutral": None}
    assert (sources["swa"].test_file, sources["swa"].evaluated_only) == ("other.csv", True)
    overrides = ("--only_sources", "[arq]", "--sources.arq.weight", "3")
    few = load(tmp_path, _SOURCES, *overrides).data.named_sources()
    assert {name: source.weight for name, source in few.items()} == {"arq": 3.0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sources: {a: train.csv}\n", "`sources.a` must be of type dict[str, Any], got 'train.csv'."),
        ("sources: {a: {train_fil: x.csv}}\n", "`sources.a`: unknown field `train_fil`; did you mean `train_file`?"),
        ("sources: {a: {weight: heavy}}\n", "`sources.a`: `weight` must be of type float, got 'heavy'."),
        (
            "sources: {a: {blank_labels: zero}}\n",
            "`sources.a`: `blank_labels` must be one of unknown, negative, got 'zero'.",
        ),
        ("sources: {a: {}}\nonly_sources: [b]\n", "`only_sources` names 'b'; the sources are a."),
    ],
)
def test_sources_that_cannot_be_used(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=one_line(problem)):
        load(tmp_path, text)
