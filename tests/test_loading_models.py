# SPDX-License-Identifier: Apache-2.0
"""Tests of trainer_ext.loading and of all who use it: whole and finite models only, and no foreign code."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recipe_samples import make_rows, write_rows
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertForSequenceClassification

from hub.dataset.teacher import load_teacher
from hub.demo.analysis import EmotionModel
from hub.model.folder import write_model_folder
from hub.model.mini import MINI_MODEL
from hub.model.quick import quick_classifier
from hub.model.staging import stage_model
from hub.model.widget import widget_examples
from hub.validation.stranger import run_as_stranger
from modeling_stacked_emotion import (
    StackedEmotionConfig,
    StackedEmotionForSequenceClassification,
    StackedEmotionTokenizer,
    StaticWordsConfig,
)
from scripts import demo, evaluate_model, predict
from trainer_ext.encoders.source import BuildContext, PretrainedEncoder
from trainer_ext.encoders.stack import encoder_source
from trainer_ext.errors import InputError
from trainer_ext.evaluation.prediction import load_classifier
from trainer_ext.loading import check_finite, load_config, load_model
from trainer_ext.stages.distillation import load_teachers

ROOT = Path(__file__).resolve().parent.parent
# They lie in repositories of their own, whose code they are to run.
STANDALONE = {"hub/demo/analysis.py", "hub/validation/stranger.py"}
EVIL = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoTokenizer": [None, "evil.Evil"]}}

Model = StackedEmotionForSequenceClassification
Weights = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path, model: Model, tokenizer: StackedEmotionTokenizer) -> Path:
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A folder whose code leaves the file `ran` beside it."""
    folder = tmp_path / "evil"
    folder.mkdir()
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text(json.dumps(EVIL))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Evil: pass\n")
    return folder


def change_weights(folder: Path, change: Callable[[Weights], Weights]) -> None:
    path = folder / "model.safetensors"
    weights = change(load_file(path))
    save_file(weights, path, metadata={"format": "pt"})


def change_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


def fails(main: Callable[[list[str]], Any], capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command ends with."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    said = capfd.readouterr()
    assert (stopped.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith("error: ")
    return said.err


# ---------------------------------------------------------------------------------------- whole and finite (A1, A2)

WITHOUT_CLASSIFIER = "lacks 2 weights of a StackedEmotionForSequenceClassification, e.g. classifier.bias"


def without_classifier(weights: Weights) -> Weights:
    return {name: weight for name, weight in weights.items() if not name.startswith("classifier.")}


def with_nan(weights: Weights) -> Weights:
    weights["classifier.bias"][1] = torch.nan
    return weights


BROKEN = {
    "some missing": (without_classifier, WITHOUT_CLASSIFIER),
    "all missing": (lambda _: {"other": torch.zeros(1)}, "e.g. auxiliary_classifier.bias"),
    "an encoder's missing": (
        lambda weights: {name: weight for name, weight in weights.items() if "roberta_bb" not in name},
        r"e.g. stacked_emotion.encoders.roberta_bb.embeddings",
    ),
    "nan": (with_nan, r"has weights that are not finite, e.g. classifier.bias"),
    "infinite": (
        lambda weights: weights | {"classifier.weight": weights["classifier.weight"] / 0},
        r"has weights that are not finite, e.g. classifier.weight",
    ),
    "another shape": (
        lambda weights: weights | {"classifier.bias": torch.zeros(7)},
        r"e.g. classifier.bias: expected \(4,\), got \(7,\)",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_weights_are_refused_by_every_loader(folder: Path, kind: str) -> None:
    change, message = BROKEN[kind]
    change_weights(folder, change)
    with pytest.raises(InputError, match=message):
        load_classifier(str(folder), "cpu")
    with pytest.raises(InputError, match=rf"^teacher .* cannot be loaded: .*{message}"):
        load_teachers([str(folder)], ["joy"])
    with pytest.raises(InputError, match=message):
        widget_examples(folder, ["en"])
    if kind != "another shape":
        # Missing weights are refused by the model's own code, others by the demo.
        with pytest.raises((OSError, ValueError), match=message):
            EmotionModel(str(folder), trust_remote_code=False)


def test_commands_refuse_a_model_without_its_weights(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change_weights(folder, without_classifier)
    data = write_rows(tmp_path / "data.jsonl", make_rows(4, 0))
    assert WITHOUT_CLASSIFIER in fails(predict.main, capfd, "--model", str(folder), "--json", "I love you")
    assert WITHOUT_CLASSIFIER in fails(evaluate_model.main, capfd, "--model", str(folder), "--data", str(data))
    # A lack of `eval_results.json` would be another reason.
    (folder / "eval_results.json").write_text("{}")
    (tmp_path / "staged").mkdir()
    with pytest.raises(InputError, match=WITHOUT_CLASSIFIER), pytest.warns(UserWarning, match="origins"):
        stage_model(folder, tmp_path / "staged", repo_id="user/model", language=["en"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_classifier, WITHOUT_CLASSIFIER),
        (with_nan, "the weights of classifier.bias are not finite"),
    ],
)
def test_validation_refuses_what_is_not_whole_or_finite(
    folder: Path, change: Callable[[Weights], Weights], message: str
) -> None:
    change_weights(folder, change)
    (folder / "README.md").write_text("# A card\n")
    (problem,) = run_as_stranger(folder, "model", "user/model")
    assert message in problem


@pytest.mark.parametrize("change", [lambda weights: dict(list(weights.items())[1:]), lambda _: {}])
def test_graph_without_its_weights_does_not_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: Callable[[Weights], Weights]
) -> None:
    copy = shutil.copytree(MINI_MODEL, tmp_path / "mini")
    assert quick_classifier(copy) is not None
    change_weights(copy, change)
    assert quick_classifier(copy) is None
    assert " lacks " in fails(predict.main, capfd, "--model", str(copy), "--json", "I love you")


def test_weights_that_are_not_finite_are_not_saved(
    tmp_path: Path, model: Model, tokenizer: StackedEmotionTokenizer
) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    with torch.no_grad():
        model.stacked_emotion.encoders["bert_wp"].embeddings.word_embeddings.weight[7, 3] = torch.inf
    expected = r"^The model has weights that are not finite, e.g. stacked_emotion.encoders.bert_wp.embeddings.word"
    with pytest.raises(InputError, match=expected):
        write_model_folder(tmp_path, model, tokenizer, {})
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_finiteness_of_weights_in_8_bits(model: Model) -> None:
    model.classifier.weight = torch.nn.Parameter(model.classifier.weight.detach().to(torch.float8_e4m3fn))
    check_finite(model, "it")
    model.classifier.weight.data[0, 0] = torch.tensor(torch.nan).to(torch.float8_e4m3fn)
    with pytest.raises(InputError, match=r"^it has weights that are not finite, e.g. classifier.weight"):
        check_finite(model, "it")


def test_encoder_that_is_not_finite_is_no_encoder(encoder_folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(encoder_folders["bert_wp"], tmp_path / "encoder")
    change_weights(copy, lambda weights: weights | {"embeddings.LayerNorm.bias": torch.full((32,), torch.nan)})
    with pytest.raises(ValueError, match=r"has weights that are not finite, e.g. embeddings.LayerNorm.bias"):
        Model.from_encoders({"one": copy}, num_labels=2)


# ------------------------------------------------------------------------------------------ foreign code (B1, B2, B5)


def test_nobody_is_asked_and_no_foreign_code_runs(evil: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.predict", "--model", str(evil), "--json"],
        cwd=ROOT,
        input="y\nI love you\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        f"{evil} is a model of the type 'evil', which needs code of its own: it is not run. Expected stacked_emotion "
        "or an architecture of transformers.\n"
    )
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "ran").exists()


def test_no_loader_runs_foreign_code(evil: Path, tmp_path: Path) -> None:
    message = "needs code of its own"
    for load in (load_config, load_model, load_classifier, load_teacher):
        with pytest.raises(InputError, match=message):
            load(str(evil))
    with pytest.raises(InputError, match=message):
        load_teachers([str(evil)], ["joy"])
    with pytest.raises(InputError, match=message):
        PretrainedEncoder(str(evil)).build(BuildContext([], tmp_path / "built"))
    with pytest.raises(ValueError, match="custom code"):
        Model.from_encoders({"one": evil}, num_labels=2)
    with pytest.raises(ValueError, match="custom code"):
        StackedEmotionTokenizer.from_encoders({"one": evil})
    assert not (tmp_path / "ran").exists()


def test_known_architecture_is_loaded_whatever_code_lies_beside_it(
    encoder_folders: dict[str, Path], evil: Path, tmp_path: Path
) -> None:
    config = BertConfig.from_pretrained(
        encoder_folders["bert_wp"], problem_type="multi_label_classification", id2label={0: "joy", 1: "fear"}
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    for path in [*encoder_folders["bert_wp"].glob("tokenizer*"), evil / "evil.py"]:
        shutil.copy(path, tmp_path / "bert")
    auto_map = dict.fromkeys(("AutoConfig", "AutoModelForSequenceClassification"), "evil.Evil")
    change_json(tmp_path / "bert" / "config.json", auto_map=auto_map)
    change_json(tmp_path / "bert" / "tokenizer_config.json", auto_map=EVIL["auto_map"])
    assert type(load_classifier(str(tmp_path / "bert"), "cpu")[0]) is BertForSequenceClassification
    assert not (tmp_path / "ran").exists()


def test_demo_has_the_classes_of_this_installation(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(folder.glob("modeling_*.py"))
    for path in folder.glob("*.py"):
        path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    served: list[Any] = []
    monkeypatch.setattr("hub.demo.app.launch", lambda model, **_: served.append(model))
    demo.main(["--model", str(folder)])
    assert type(served[0].model) is Model
    assert not (tmp_path / "ran").exists()


def test_demo_runs_foreign_code_if_told_to(evil: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "needs code of its own" in fails(demo.main, capfd, "--model", str(evil))
    assert not (tmp_path / "ran").exists()
    # The class is of no use, but its file has been run.
    with pytest.raises((SystemExit, AttributeError)):
        demo.main(["--model", str(evil), "--trust_remote_code"])
    assert (tmp_path / "ran").exists()


def test_pickles_are_not_read(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has its weights in pytorch_model\.bin, which is not read, since a pickle"):
        load_classifier(str(folder), "cpu")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"transformers_weights": "adapter_model.bin"}, "names a file of weights; expected them in model.safetensors"),
        ({"attn_implementation": "user/kernel"}, "the attention 'user/kernel' of config.json is code of the Hub"),
        ({"text_config": {"_attn_implementation": "user/kernel"}}, "the attention 'user/kernel' of config.json"),
    ],
)
def test_config_that_leads_elsewhere(folder: Path, fields: dict[str, Any], message: str) -> None:
    change_json(folder / "config.json", **fields)
    with pytest.raises(InputError, match=message):
        load_config(str(folder))


def test_adapter_is_not_put_onto_the_weights(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"}))
    with pytest.raises(InputError, match=r"holds an adapter \(adapter_config\.json\): merge it into the model"):
        load_classifier(str(folder), "cpu")


def test_auto_classes_load_in_one_module_only() -> None:
    paths = [path for package in ("trainer_ext", "hub", "scripts") for path in (ROOT / package).rglob("*.py")]
    assert len(paths) > 100
    calls = [
        f"{path.relative_to(ROOT).as_posix()}: {ast.unparse(node.func)}"
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "from_pretrained"
        # Of another library, for a benchmark.
        and "StaticModel" not in ast.unparse(node.func)
        and "StaticWordsTokenizer" not in ast.unparse(node.func)
    ]
    elsewhere = [call for call in calls if call.partition(":")[0] not in STANDALONE]
    assert sorted(elsewhere) == [
        "trainer_ext/loading.py: AutoConfig.from_pretrained",
        "trainer_ext/loading.py: AutoTokenizer.from_pretrained",
        "trainer_ext/loading.py: kind.from_pretrained",
    ]
    assert {call.partition(":")[0] for call in calls} > STANDALONE


# ----------------------------------------------------------------------------------- paths, labels, sizes (B3, B4, B6)


@pytest.mark.parametrize("name", ["../outside", "/etc", "a/b", "", 7, None])
def test_encoders_of_a_tokenizer_have_names(folder: Path, tmp_path: Path, name: Any) -> None:
    shutil.copytree(folder / "bert_wp_tokenizer", tmp_path / "outside_tokenizer")
    change_json(folder / "tokenizer_config.json", encoders=["bert_wp", name])
    with pytest.raises(ValueError, match=r"^An encoder's name must be letters, digits and underscores"):
        StackedEmotionTokenizer.from_pretrained(folder)


def test_quick_model_reads_no_tokenizer_outside(tmp_path: Path) -> None:
    copy = shutil.copytree(MINI_MODEL, tmp_path / "mini")
    shutil.copytree(copy / "minilm_tokenizer", tmp_path / "minilm_tokenizer")
    change_json(copy / "tokenizer_config.json", encoders=["glove", "../minilm"])
    assert quick_classifier(copy) is None


@pytest.mark.parametrize("shard", ["../other/model.safetensors", "/other/model.safetensors", "a/../../b.safetensors"])
def test_index_of_weights_stays_in_its_folder(folder: Path, tmp_path: Path, shard: str) -> None:
    (tmp_path / "other").mkdir()
    (folder / "model.safetensors").rename(tmp_path / "other" / "model.safetensors")
    names = load_file(tmp_path / "other" / "model.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(names, shard)}))
    with pytest.raises(InputError, match=rf"{index.name} must name files of its folder, got '{shard}'"):
        load_classifier(str(folder), "cpu")


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": ["a.safetensors"]}'])
def test_index_of_weights_is_an_object(folder: Path, content: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match=r"index\.json must hold an object with a `weight_map` of weights to files"):
        load_classifier(str(folder), "cpu")


def test_shards_load(folder: Path, model: Model) -> None:
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="50KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    loaded = load_classifier(str(folder), "cpu")[0]
    assert torch.equal(loaded.classifier.weight, model.classifier.weight)


def test_labels_do_not_command_the_terminal(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    labels = {"0": "anger", "1": "j\x1b]0;title\x07oy", "2": "sad\x9bness", "3": "fear"}
    change_json(folder / "config.json", id2label=labels, label2id={label: int(key) for key, label in labels.items()})
    predict.main(["--model", str(folder), "--threshold", "0", "hi"])
    said = capfd.readouterr().out
    assert "  j ]0;title oy " in said
    assert "  sad ness " in said
    rows = [{"text": f"text {index}", "labels": [label]} for index, label in enumerate(labels.values())]
    data = write_rows(tmp_path / "data.jsonl", rows)
    evaluate_model.main(["--model", str(folder), "--data", str(data)])
    said += capfd.readouterr().out
    assert "\nj ]0;title oy " in said
    assert not set("\x1b\x07\x9b") & set(said)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lstm_num_layers": 1_000_000}, "`lstm_num_layers` must be at most 16, got 1000000"),
        ({"lstm_hidden_size": 10**9}, "`lstm_hidden_size` must be at most 65,536, got 1000000000"),
        ({"meta_hidden_size": 65_537}, "`meta_hidden_size` must be at most 65,536, got 65537"),
        ({"convolution_widths": [1, 10**9]}, "`convolution_widths` must be at most 65,536, got 1000000000"),
        ({"num_labels": 10**9}, "`num_labels` must be at most 65,536, got 1000000000"),
        ({"encoders": {"a": {"model_type": "bert", "num_hidden_layers": 10**9}}}, "`encoders.a.num_hidden_layers`"),
        ({"encoders": {"a": {"model_type": "distilbert", "dim": 10**9}}}, "`encoders.a.dim` must be at most 65,536"),
    ],
)
def test_sizes_have_an_end(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StackedEmotionConfig(**fields)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "stacked_emotion", **fields}))
    with pytest.raises(InputError, match=rf"config\.json: {message}"):
        load_config(str(tmp_path))


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ({"architecture": "bert", "num_hidden_layers": 10**9}, "`num_hidden_layers` must be at most 1,024"),
        ({"architecture": "bert", "hidden_size": 4 * 10**9}, "`hidden_size` must be at most 65,536"),
        ({"architecture": "static_words", "num_ngrams": 10**9}, "`num_ngrams` must be at most 10,000,000"),
    ],
)
def test_sizes_of_a_recipe_have_an_end(origin: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}, got "):
        encoder_source("one", origin)


def test_sizes_of_others_have_an_end(folder: Path) -> None:
    change_json(folder / "config.json", model_type="bert", encoders=None, num_labels=10**9)
    with pytest.raises(InputError, match="`num_labels` must be at most 65,536"):
        load_model(str(folder), AutoModel)
    with pytest.raises(ValueError, match="`vocab_size` must be at most 10,000,000"):
        StaticWordsConfig(vocab_size=10**10)
    change_json(folder / "tokenizer_config.json", max_words=10**7)
    with pytest.raises(ValueError, match="`max_words` must be at most 1,000,000, got 10000000"):
        StackedEmotionTokenizer.from_pretrained(folder)
