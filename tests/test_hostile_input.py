# SPDX-License-Identifier: Apache-2.0
"""Configurations, tokenizers and recipes that are damaged or hostile: each is refused in one line that names it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import stock_classifier
from transformers import AutoTokenizer

import modeling_stacked_emotion
from hub.model.mini import MINI_MODEL
from hub.model.onnx_example import OnnxClassifier
from hub.model.quick import quick_classifier
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.encoders.stack import build_stack
from trainer_ext.errors import InputError
from trainer_ext.evaluation.prediction import load_classifier, predict_logits
from trainer_ext.recipe import load_recipe

NAN = float("nan")
HUGE = 10**400

Change = Callable[[Any], Any]


def put(*path: str, value: Any) -> Change:
    """A change of JSON: the value at a path of keys."""

    def change(content: Any) -> Any:
        node = content
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
        return content

    return change


def without(key: str) -> Change:
    return lambda content: {name: value for name, value in content.items() if name != key}


def instead(value: Any) -> Change:
    return lambda _: value


def change_file(path: Path, change: Change) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


def refusal(call: Callable[[], object]) -> str:
    """The message of the refusal, one line that is no longer than a screen."""
    with pytest.raises(InputError) as refused:
        call()
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 1100
    return message


# ------------------------------------------------------------------------------------ configurations and tokenizers

ENCODER = ("encoders", "bert_wp")
STACKED = [
    ("config.json", put(*ENCODER, "hidden_act", value="os.system"), "`hidden_act` must be an activation of transform"),
    (
        "config.json",
        put(*ENCODER, "num_attention_heads", value=0),
        "`encoders.bert_wp.num_attention_heads` must be at",
    ),
    ("config.json", put(*ENCODER, "num_attention_heads", value=5), "hidden size (32) is not a multiple of the number"),
    ("config.json", put(*ENCODER, "hidden_size", value=-1), "`encoders.bert_wp.hidden_size` must be at least 1"),
    ("config.json", put(*ENCODER, "vocab_size", value=9_000_000), "config.json describes 288"),
    ("config.json", put(*ENCODER, "vocab_size", value=301), "of another shape than"),
    ("config.json", put(*ENCODER, "layer_norm_eps", value="a"), "layer_norm_eps"),
    ("config.json", put("dropout", value=HUGE), "`dropout` must be a number in [0, 1)"),
    ("config.json", put("mixer", value=["none"]), "mixer"),
    ("config.json", put("thresholds", value=[0.5] * 3), "`thresholds` must have one value per label (4), got 3"),
    (
        "config.json",
        put("thresholds", value=[0.5, NAN, 0.5, 0.5]),
        "`thresholds[joy]` must be a number in [0, 1], got",
    ),
    ("config.json", put("thresholds", value=[0.5, 0.5, 0.5, HUGE]), "`thresholds[fear]` must be a number in [0, 1]"),
    ("config.json", put("thresholds", value=[]), "`thresholds` must have one value per label (4), got 0"),
    ("config.json", put("id2label", value={"0": "a", "2": "b"}), "`id2label` must number the labels from 0 without"),
    ("config.json", put("id2label", value="joy"), "`id2label` must be a dict of id to label, got str"),
    ("config.json", instead([]), "config.json"),
    ("tokenizer_config.json", instead([]), "tokenizer_config.json must hold an object, got list"),
    ("tokenizer_config.json", without("encoders"), "tokenizer_config.json lacks `encoders`"),
    ("tokenizer_config.json", without("normalizations"), "tokenizer_config.json lacks `normalizations`"),
    ("tokenizer_config.json", without("max_words"), "tokenizer_config.json lacks `max_words`"),
    ("tokenizer_config.json", put("encoders", value=7), "tokenizer_config.json: `encoders` must be a list, got 7"),
    (
        "tokenizer_config.json",
        lambda content: content | {"encoders": ["bert_wp"], "normalizations": {}},
        "encoders of the model, bert_wp, elec",
    ),
    (
        "tokenizer_config.json",
        put("normalizations", "bert_wp", value="os"),
        "must be one of none, tweet, arabert, got",
    ),
    ("tokenizer_config.json", put("max_tokens", value=513), "takes at most"),
    ("tokenizer_config.json", put("max_words", value=0), "`max_words` must be at least 1"),
    ("bert_wp_tokenizer/tokenizer.json", instead({}), "bert_wp_tokenizer holds no tokenizer that can be read"),
    ("bert_wp_tokenizer/tokenizer.json", put("model", "vocab", "joyful", value=300), "has 301 tokens, but the embedd"),
    ("bert_wp_tokenizer/tokenizer_config.json", instead([1]), "bert_wp_tokenizer holds no tokenizer that can be read"),
]


@pytest.fixture(scope="module")
def saved(
    encoder_folders: dict[str, Path], tokenizer: StackedEmotionTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A stacked model of three tiny encoders; each test gives back the files that it changes."""
    folder = tmp_path_factory.mktemp("stacked")
    model = StackedEmotionForSequenceClassification.from_encoders(
        encoder_folders, id2label=dict(enumerate(("anger", "joy", "sadness", "fear")))
    )
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("file", "change", "message"), STACKED)
def test_model_that_cannot_be_used(saved: Path, file: str, change: Change, message: str) -> None:
    sound = (saved / file).read_bytes()
    try:
        change_file(saved / file, change)
        said = refusal(lambda: load_classifier(str(saved), "cpu"))
    finally:
        (saved / file).write_bytes(sound)
    assert said.startswith(str(saved))
    assert message in said


def test_text_in_the_place_of_json(saved: Path) -> None:
    for file in ("config.json", "tokenizer_config.json", "bert_wp_tokenizer/tokenizer.json"):
        sound = (saved / file).read_bytes()
        for content in (b"", b"\xff\xfe", b'{"a": ', b"[" * 100_000):
            (saved / file).write_bytes(content)
            assert refusal(lambda: load_classifier(str(saved), "cpu")).startswith(str(saved))
        (saved / file).write_bytes(sound)
    assert load_classifier(str(saved), "cpu")


STOCK = [
    ("config.json", put("hidden_act", value="os.system"), "`hidden_act` must be an activation of transformers"),
    ("config.json", put("num_attention_heads", value=0), "config.json: `num_attention_heads` must be at least 1"),
    ("config.json", put("thresholds", value=[0.5] * 5), "`thresholds` must have one value per label (4), got 5"),
    ("config.json", put("thresholds", value=[NAN] * 4), "`thresholds[anger]` must be a number in [0, 1], got nan"),
    ("config.json", put("thresholds", value=0.5), "`thresholds` must be a list of floats, got float"),
    ("config.json", put("id2label", value={"0": "a", "1": "b", "2": "c", "7": "d"}), "must number the labels from 0"),
    ("tokenizer_config.json", put("model_max_length", value=-1), "`model_max_length` must be at least 8, got -1"),
    ("tokenizer_config.json", put("pad_token", value=None), "has no `pad_token`"),
    ("tokenizer.json", put("model", "vocab", "joyful", value=300), "call `resize_token_embeddings(301)`"),
]


@pytest.mark.parametrize(("file", "change", "message"), STOCK)
def test_stock_model_that_cannot_be_used(
    encoder_folders: dict[str, Path], tmp_path: Path, file: str, change: Change, message: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    for part in (stock_classifier(tokenizer), tokenizer):
        part.save_pretrained(tmp_path)
    change_file(tmp_path / file, change)
    assert message in refusal(lambda: load_classifier(str(tmp_path), "cpu"))


def test_limit_of_a_stock_tokenizer_is_that_of_its_model(encoder_folders: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"], model_max_length=10**30)
    for part in (stock_classifier(tokenizer, max_position_embeddings=40), tokenizer):
        part.save_pretrained(tmp_path)
    loaded, its_tokenizer = load_classifier(str(tmp_path), "cpu")
    assert its_tokenizer.model_max_length == 40
    assert predict_logits(loaded, its_tokenizer, ["so happy " * 100]).shape == (1, 4)


def test_encoder_whose_tokenizer_has_grown_is_refused_before_training(
    encoder_folders: dict[str, Path], tmp_path: Path
) -> None:
    encoder = shutil.copytree(encoder_folders["bert_wp"], tmp_path / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tokenizer.add_tokens(["قهوة", "🥹"])
    tokenizer.save_pretrained(encoder)
    said = refusal(
        lambda: build_stack(
            {"own": str(encoder)},
            **{
                "label_names": ["joy"],
                "texts": [],
                "seed": 0,
                "normalizations": {},
                "max_words": 16,
                "max_tokens": 16,
            },
            **{"attn_implementation": None, "config_fields": {}},
        )
    )
    assert "The tokenizer of own has 302 tokens, but the embedding has 300 rows" in said
    assert "`resize_token_embeddings(302)`" in said


MINI = [
    ("config.json", put("thresholds", value=[0.5] * 3), "`thresholds` must have one value per label (30), got 3"),
    ("config.json", put("thresholds", value=[NAN] * 30), "must be a number in [0, 1], got nan"),
    ("config.json", put("thresholds", value=[]), "`thresholds` must have one value per label (30), got 0"),
    ("tokenizer_config.json", instead([]), "tokenizer_config.json must hold an object, got list"),
    ("tokenizer_config.json", without("normalizations"), "tokenizer_config.json lacks `normalizations`"),
    ("tokenizer_config.json", put("encoders", value=["minilm"]), "encoders"),
    # The library panics.
    (
        "me5_tokenizer/tokenizer.json",
        put("normalizer", value={"type": "Precompiled", "precompiled_charsmap": "<"}),
        "Invalid byte",
    ),
    ("tokenizer_config.json", put("max_tokens", value=100_000), "`max_tokens` is 100000, but"),
]


@pytest.mark.parametrize(("file", "change", "message"), MINI)
def test_graph_without_a_sound_folder_does_not_answer(tmp_path: Path, file: str, change: Change, message: str) -> None:
    copy = shutil.copytree(MINI_MODEL, tmp_path / "mini")
    change_file(copy / file, change)
    code = Path(modeling_stacked_emotion.__file__).parent
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        OnnxClassifier(copy, "model.onnx", code)
    assert quick_classifier(copy) is None
    assert message.partition("`max_tokens`")[0] in refusal(lambda: load_classifier(str(copy), "cpu"))


# -------------------------------------------------------------------------------------------------------- recipes

LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 11)
)
RECIPES: dict[str, tuple[str | bytes, str]] = {
    "tag of a boolean": ("bf16: !!bool maybe\n", "is not YAML"),
    "tag of a date": ("seed: !!timestamp foo\n", "is not YAML"),
    "object of Python": ("seed: !!python/object:os.system {}\n", "is not YAML"),
    "call of Python": ('seed: !!python/object/apply:os.system ["true"]\n', "is not YAML"),
    "aliases of 9^10 values": (LAUGHS + "label_names: *a10\n", "expected at most 10,000 values"),
    "alias within itself": ("encoders: &a {b: *a}\n", "expected at most 10,000 values"),
    "many values": ("label_names: [" + "a, " * 20_000 + "a]\n", "expected at most 10,000 values"),
    "deep nesting": ("label_names: " + "[" * 10_000 + "\n", "is not YAML"),
    "deep mapping": ("".join(" " * level + "a:\n" for level in range(1_000)), "is not YAML"),
    "huge file": (b"# \xd8\xa7" * 500_000, "is too long to be a recipe: expected at most 1,000,000 bytes"),
    "repeated key": ("seed: 1\nbf16: true\nseed: 2\n", "from line 1: the key `seed` stands there twice"),
    "repeated key within": ("label_map:\n  a: b\n  a: c\n", "from line 2: the key `a` stands there twice"),
    "key that cannot be one": ("? [a, b]\n: 1\n", "is not YAML"),
    "tab": ("encoders:\n\ta: b\n", "is not YAML"),
    "list": ("- seed\n", "must be a mapping of fields, got list"),
    "number": ("7\n", "must be a mapping of fields, got int"),
    "nothing": ("", "must be a mapping of fields, got NoneType"),
    "bytes that are no UTF-8": (b"output_dir: \xff\xfe\n", "is not YAML"),
    "zero byte": ("seed: 1\0\n", "is not YAML"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "is not YAML"),
    "null": ("max_words: null\n", "`max_words` must be of type int, got None"),
    "list for a number": ("learning_rate: [1e-4]\n", "`learning_rate` must be of type float, got ['1e-4']"),
    "null in a list": ("label_names: [joy, null]\n", "`label_names[1]` must be of type str, got None"),
    "list in a mapping": ("normalizations: {a: [tweet]}\n", "`normalizations.a` must be of type str, got ['tweet']"),
    "null as a key": ("label_map: {null: joy}\n", "`the keys of label_map` must be of type str, got None"),
    "not a number": ("learning_rate: .nan\n", "`learning_rate`"),
    "choice of transformers": ("optim: best\n", "best is not a valid OptimizerNames"),
    "argument of transformers": ("accelerator_config: {a: 1}\n", "unexpected keyword argument 'a'"),
    "word for a mapping": ("activation_checkpointing_kwargs: joy\n", "must be a mapping, got 'joy'"),
    "infinite": ("num_train_epochs: .inf\n", "`num_train_epochs`"),
    "beyond all floats": (f"learning_rate: {HUGE}\n", "`learning_rate` must be of type float, got 1000"),
    "half a megabyte": (f"seed: {'x' * 500_000}\n", "`seed` must be of type int, got 'xxx"),
    "unknown field of half a megabyte": (f"{'x' * 100_000}: 1\n", "is not YAML"),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_recipe_that_cannot_be_used(tmp_path: Path, kind: str) -> None:
    content, message = RECIPES[kind]
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refusal(lambda: load_recipe(str(path)))


def test_folder_as_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(f"There is no recipe {tmp_path}.")):
        load_recipe(str(tmp_path))


def test_aliases_and_merges_of_a_recipe_are_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "encoders:\n  a: &small {architecture: bert, hidden_size: 8}\n  b: {<<: *small, hidden_size: 16}\n"
        "label_map: {0: anger, 1.5: joy}\noutput_dir: out\nprecision: fp32\n"
    )
    recipe = load_recipe(str(path), ["--use_cpu"])
    assert recipe.model.encoders["b"] == {"architecture": "bert", "hidden_size": 16}
    assert recipe.data.label_map == {"0": "anger", "1.5": "joy"}
