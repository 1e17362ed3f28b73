# SPDX-License-Identifier: Apache-2.0
"""Tests of staged training: what each stage trains, what is repeated, folds, resumption, one line per bad field."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from conftest import fails
from recipe_samples import LABELS, write_recipe, write_vectors
from safetensors.torch import load_file
from transformers import PreTrainedConfig, pipeline

from scripts import train
from trainer_ext.errors import InputError
from trainer_ext.evaluation.prediction import load_classifier, predict_probabilities
from trainer_ext.recipe import load_recipe
from trainer_ext.stages import feature_cache, staged_training
from trainer_ext.stages.stage_folder import StageFolder, load_weights, stage_settings
from trainer_ext.stages.staged_training import assign_folds
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.trainer import StackedEmotionTrainer

pytestmark = pytest.mark.usefixtures("blank_figures")

ROOT = Path(__file__).resolve().parent.parent
STAGES = ["encoder_bytes", "encoder_words", "head"]
Record = Callable[[str, StackedEmotionTrainer], object]
OnOptimizer = Callable[[Record], None]
FAST: dict[str, Any] = {"training_mode": "staged", "num_train_epochs": 1, "head_num_train_epochs": 2}


# Whether an argument shapes the result of a stage: table by table, all fields of the training arguments.
COUNTS = {
    *("learning_rate", "head_learning_rate", "encoder_learning_rates", "layerwise_lr_decay", "weight_decay"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "num_train_epochs", "max_grad_norm"),
    *("optim", "optim_args", "optim_target_modules", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("per_device_train_batch_size", "auto_find_batch_size", "gradient_accumulation_steps", "accelerator_config"),
    *("average_tokens_across_devices", "dataloader_drop_last", "dataloader_in_order", "train_sampling_strategy"),
    *("source_temperature", "source_weights"),
    *("length_column_name", "seed", "data_seed", "parallelism_config"),
    *("bf16", "fp16", "bf16_full_eval", "fp16_full_eval", "tf32", "use_cpu", "full_determinism"),
    *("activation_checkpointing", "activation_checkpointing_kwargs"),
    *("gradient_checkpointing", "gradient_checkpointing_kwargs", "use_liger_kernel", "liger_kernel_config"),
    *("torch_compile", "torch_compile_backend", "torch_compile_mode"),
    *("base_loss", "base_loss_options", "base_loss_weight", "auxiliary_loss_weight", "encoder_loss_weight"),
    *("class_weights", "class_weight_cap", "label_weights", "label_smoothing_factor", "neftune_noise_alpha"),
    *("correlation_loss", "correlation_loss_weight", "correlation_smoothing"),
    *("contrastive_loss_weight", "contrastive_temperature", "contrastive_memory_size", "num_frozen_layers"),
    *("eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "save_strategy", "save_steps"),
    *("load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
    *("early_stopping_patience", "early_stopping_threshold"),
}
WITHOUT_EFFECT = {
    # Logging and reporting.
    *("logging_strategy", "logging_steps", "logging_first_step", "logging_nan_inf_filter", "log_on_each_node"),
    *("log_level", "log_level_replica", "disable_tqdm", "report_to", "run_name", "project", "derived_precision"),
    *("trackio_space_id", "trackio_bucket_id", "trackio_static_space_id", "include_num_input_tokens_seen"),
    *("debug", "skip_memory_metrics"),
    # Folders, checkpoints and the Hub.
    *("output_dir", "feature_cache_dir", "resume_from_checkpoint", "save_total_limit", "save_only_model"),
    *("save_on_each_node", "enable_jit_checkpoint", "ignore_data_skip", "restore_callback_states_from_checkpoint"),
    *("push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push"),
    "hub_revision",
    # How rows reach the model and predictions leave it; the size of evaluation batches is a matter of rounding.
    *("dataloader_num_workers", "dataloader_persistent_workers", "dataloader_prefetch_factor"),
    *("dataloader_pin_memory", "dataloader_multiprocessing_context", "remove_unused_columns", "label_names"),
    *("per_device_eval_batch_size", "prediction_loss_only", "eval_do_concat_batches", "eval_use_gather_object"),
    *("eval_accumulation_steps", "include_for_metrics", "batch_eval_metrics", "torch_empty_cache_steps"),
    # Processes.
    *("ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph"),
    *("ddp_backend", "ddp_timeout", "local_rank"),
    # The order of the stages, and arguments that become a stage's own `num_train_epochs`, batch size and rates.
    *("training_mode", "num_folds", "head_num_train_epochs", "head_per_device_train_batch_size"),
    *("polish_num_train_epochs", "polish_learning_rate"),
    # `bf16` and `fp16` say what it stands for.
    "precision",
    # Refused in staged training, or of no use without what is refused.
    *("max_steps", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"),
    *("fsdp", "fsdp_config", "deepspeed"),
    # Of language models, and of scripts of transformers.
    *("use_cache", "do_train", "do_eval", "do_predict"),
}


def stage_states(text: str) -> dict[str, str]:
    """Stage to its state, such as `training`, in the output of the command."""
    lines = [line.partition(": ") for line in text.splitlines() if line.startswith("Stage ")]
    return {stage.removeprefix("Stage "): state.rstrip(".") for stage, _, state in lines}


def files_to_write(text: str) -> str:
    return (
        next(line for line in text.splitlines() if line.startswith("Feature cache")).partition(": ")[2].split(",")[0]
    )


def run(recipe: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> tuple[dict[str, str], str]:
    """Run the command; returns the state of each stage, and how many files of features it wrote."""
    capsys.readouterr()
    train.main([str(recipe), *overrides])
    output = capsys.readouterr().out
    return stage_states(output), files_to_write(output)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "output" / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def on_optimizer(monkeypatch: pytest.MonkeyPatch) -> OnOptimizer:
    """Have a function called with the name and the Trainer of every stage that has made its optimizer."""

    def register(record: Record) -> None:
        create_optimizer = StackedEmotionTrainer.create_optimizer

        def recorded(self: StackedEmotionTrainer, model: Any = None) -> Any:
            optimizer = create_optimizer(self, model)
            record(Path(str(self.args.output_dir)).name, self)
            return optimizer

        monkeypatch.setattr(StackedEmotionTrainer, "create_optimizer", recorded)

    return register


# ---------------------------------------------------------------------------------------------- a whole run


def test_staged_run_leaves_a_repository_of_the_trained_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], on_optimizer: OnOptimizer
) -> None:
    trained: dict[str, list[str]] = {}
    configs: dict[str, Any] = {}

    def record(stage: str, trainer: StackedEmotionTrainer) -> None:
        trained[stage] = [name for name, value in trainer.model.named_parameters() if value.requires_grad]
        configs[stage] = trainer.model.config

    on_optimizer(record)
    recipe = write_recipe(tmp_path, **FAST)
    states, written = run(recipe, capsys)
    assert states == dict.fromkeys(STAGES, "training")
    assert written == "4 of 4 files to write"
    # Each encoder alone, then the head alone.
    for name in ("bytes", "words"):
        encoder = [key for key in trained[f"encoder_{name}"] if not key.startswith("classifier.")]
        assert encoder
        assert all(key.startswith(f"stacked_emotion.encoders.{name}.") for key in encoder)
        # It stands under mean pooling and a linear layer.
        config = configs[f"encoder_{name}"]
        assert (config.mixer, config.lstm_num_layers, config.pooling) == ("none", 0, "mean")
        assert (list(config.encoders), config.skip_connection) == ([name], False)
        classifier = load_weights(tmp_path / "output" / "checkpoints" / "stages" / f"encoder_{name}")
        assert classifier["classifier.weight"].shape == (4, 16)
    assert not [key for key in trained["head"] if ".encoders." in key]
    assert {key.split(".")[1] for key in trained["head"]} >= {"mixer", "bilstm", "pooling"}
    # The model has what the stages have made.
    stages = tmp_path / "output" / "checkpoints" / "stages"
    saved = weights(tmp_path)
    joined = load_weights(stages / "encoder_bytes") | load_weights(stages / "encoder_words")
    assert same(saved, joined | load_weights(stages / "head"))
    assert not list(stages.glob("*/checkpoint-*"))


@pytest.mark.slow
@pytest.mark.parametrize("frozen", [False, True])
def test_static_words_stand_beside_transformers_in_a_staged_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], frozen: bool
) -> None:
    size = {"vocab_size": 200, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    static = {"architecture": "static_words", "word_vectors": str(write_vectors(tmp_path / "words.vec"))}
    recipe = write_recipe(tmp_path, **FAST, encoders={"words": {**static, "frozen": frozen}, "bytes": size})
    states, written = run(recipe, capsys)
    assert states == dict.fromkeys(STAGES, "training")
    assert written == "4 of 4 files to write"
    stages = tmp_path / "output" / "checkpoints" / "stages"
    trained = load_weights(stages / "encoder_words")["stacked_emotion.encoders.words.table"]
    saved = weights(tmp_path)["stacked_emotion.encoders.words.table"]
    assert saved.dtype == torch.float16
    assert torch.equal(saved, trained.half())
    assert torch.equal(saved.float(), trained) is frozen
    assert run(recipe, capsys) == (dict.fromkeys(STAGES, "complete already"), "0 of 4 files to write")


@pytest.mark.slow
def test_results_and_pipeline_are_those_of_any_run(tmp_path: Path) -> None:
    longer = {"num_train_epochs": 2, "head_num_train_epochs": 6, "head_per_device_train_batch_size": 8}
    results = train.main([str(write_recipe(tmp_path, **(FAST | longer)))])
    written = json.loads((tmp_path / "output" / "eval_results.json").read_text(encoding="utf-8"))
    assert {key: results[key] for key in written} == written
    assert results["test_macro_roc_auc"] > 0.65
    stages = [results[f"train_runtime/{stage}"] for stage in STAGES]
    assert results["train_runtime"] > sum(stages) > 0
    # 60 texts: 2 epochs of each encoder, 6 of the head.
    assert results["train_samples_per_second"] * results["train_runtime"] == pytest.approx(60 * 10, rel=0.02)
    text = "so happy, what a lovely day 🎉"
    classify = pipeline("text-classification", model=str(tmp_path / "output"), top_k=None)
    scores = {entry["label"]: entry["score"] for entry in classify([text])[0]}
    (probabilities,) = predict_probabilities(
        *load_classifier(str(tmp_path / "output"), "cpu"), [text], precision="fp32"
    )
    assert [scores[label] for label in LABELS] == pytest.approx(probabilities.tolist(), abs=1e-6)
    assert (tmp_path / "output" / "README.md").is_file()


@pytest.mark.slow
def test_polish_trains_all_with_its_own_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], on_optimizer: OnOptimizer
) -> None:
    rates: dict[str, set[float]] = {}

    def record(stage: str, trainer: StackedEmotionTrainer) -> None:
        assert trainer.optimizer is not None
        rates[stage] = {group["lr"] for group in trainer.optimizer.param_groups}

    on_optimizer(record)
    # The last epoch is kept, be it better than the start or not.
    polish = {"polish_num_train_epochs": 1, "polish_learning_rate": 3e-4, "load_best_model_at_end": False}
    states, _ = run(write_recipe(tmp_path, **(FAST | polish), learning_rate=2e-3), capsys)
    assert list(states) == [*STAGES, "polish"]
    assert rates == {stage: {2e-3, 5e-3} for stage in STAGES[:2]} | {"head": {5e-3}, "polish": {3e-4}}
    stages = tmp_path / "output" / "checkpoints" / "stages"
    polished, head = load_weights(stages / "polish"), load_weights(stages / "head")
    assert same(weights(tmp_path), polished)
    assert not torch.equal(polished["classifier.weight"], head["classifier.weight"])
    key = "stacked_emotion.encoders.words.embeddings.word_embeddings.weight"
    assert not torch.equal(polished[key], load_weights(stages / "encoder_words")[key])


@pytest.mark.slow
def test_stages_go_without_the_loss_of_each_encoder_alone(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, **FAST)
    folders = [tmp_path / weight for weight in ("0", "2")]
    for folder in folders:
        train.main([str(recipe), "--output_dir", str(folder / "output"), "--encoder_loss_weight", folder.name])
    assert same(*map(weights, folders))


# ---------------------------------------------------------------------------------------------- where the head starts


def test_the_head_starts_from_the_encoders_and_is_undone_if_it_is_no_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # So high a rate that every epoch is worse.
    worse = {"metric_for_best_model": "loss", "head_learning_rate": 5.0, "calibration": "none"}
    recipe = write_recipe(tmp_path, **FAST, **worse)
    train.main([str(recipe), "--learning_rate", "5e-3"])
    output = capsys.readouterr().out
    assert "The head starts as the mean of the encoders: bytes 0." in output
    assert "No epoch of stage head is better than what it began with, which is kept." in output
    stages = tmp_path / "output" / "checkpoints" / "stages"
    head = load_weights(stages / "head")["classifier.weight"]
    single = load_weights(stages / "encoder_words")["classifier.weight"]
    width = single.shape[1]
    assert not head[:, : -2 * width].any()
    places = {"bytes": head[:, -2 * width : -width], "words": head[:, -width:]}
    share = (places["words"] / single).mean().item()
    assert 0 < share < 1
    torch.testing.assert_close(places["words"], share * single)
    other = load_weights(stages / "encoder_bytes")["classifier.weight"]
    torch.testing.assert_close(places["bytes"], (1 - share) * other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_an_encoder_with_fewer_layers_is_frozen_as_a_whole_in_its_stage(
    tmp_path: Path, on_optimizer: OnOptimizer
) -> None:
    frozen: dict[str, int] = {}
    on_optimizer(lambda stage, trainer: frozen.update({stage: trainer.args.num_frozen_layers}))
    size = {"vocab_size": 200, "hidden_size": 16, "num_attention_heads": 2}
    static = {"architecture": "static_words", "word_vectors": str(write_vectors(tmp_path / "words.vec"))}
    layers = {"bytes": {**size, "num_hidden_layers": 3}, "low": {**size, "num_hidden_layers": 1}, "words": static}
    train.main([str(write_recipe(tmp_path, **FAST, encoders=layers, num_frozen_layers=2))])
    assert frozen == {"encoder_bytes": 2, "encoder_low": -1, "encoder_words": -1, "head": 0}


@pytest.mark.slow
def test_trained_encoders_have_no_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {"mixer": "none", "lstm_num_layers": 0, "pooling": "mean", "skip_connection": False}
    (tmp_path / "single").mkdir()
    train.main([str(write_recipe(tmp_path / "single", only_encoders=["words"], num_train_epochs=1, **plain))])
    size = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    encoders = {"words": {"trained": str(tmp_path / "single" / "output")}, "bytes": size}
    recipe = write_recipe(tmp_path, **FAST, encoders=encoders)
    states, _ = run(recipe, capsys)
    assert states == {"encoder_words": "trained before", "encoder_bytes": "training", "head": "training"}
    before, after = weights(tmp_path / "single"), weights(tmp_path)
    prefix = "stacked_emotion.encoders.words."
    assert same(*({key: value for key, value in part.items() if key.startswith(prefix)} for part in (before, after)))
    error = fails(train.main, capsys, recipe, "--num_folds", "2")
    assert error.startswith(
        "error: `num_folds` is for encoders that are yet to be trained, but 'words' has been trained"
    )


# ---------------------------------------------------------------------------------------------- done once


@pytest.mark.slow
def test_stages_are_skipped_and_redone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, **FAST)
    run(recipe, capsys)
    first = weights(tmp_path)
    reports = tmp_path / "output" / "checkpoints" / "reports"
    # The model has not been polished.
    (reports / "polish").mkdir()
    old = [reports / "old_99.png", *(reports / stage / "old_99.png" for stage in ("polish", *STAGES))]
    for path in old:
        path.touch()
    again, written = run(recipe, capsys)
    assert again == dict.fromkeys(STAGES, "complete already")
    assert written == "0 of 4 files to write"
    assert same(weights(tmp_path), first)
    assert [path.exists() for path in old] == [False, False, True, True, True]
    # What has no effect on the weights repeats nothing; the head's settings repeat the head alone.
    again, written = run(recipe, capsys, "--head_num_train_epochs=3", "--logging_steps=7", "--resume_from_checkpoint")
    assert again == dict.fromkeys(STAGES[:2], "complete already") | {"head": "training"}
    assert written == "0 of 4 files to write"
    assert [path.exists() for path in old] == [False, False, True, True, False]
    # The encoder that the recipe names last in another width: the first one stays, with its features.
    again, written = run(recipe, capsys, "--encoders.bytes.hidden_size=24")
    assert again == {"encoder_bytes": "training", "encoder_words": "complete already", "head": "training"}
    assert written == "2 of 4 files to write"
    again, _ = run(recipe, capsys, "--encoders.bytes.hidden_size=24", "--learning_rate=1e-3")
    assert again == dict.fromkeys(STAGES, "training")


@pytest.mark.slow
def test_other_training_texts_repeat_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, **FAST)
    run(recipe, capsys)
    path = tmp_path / "train.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("work", "word", 1), encoding="utf-8")
    again, written = run(recipe, capsys)
    assert again == dict.fromkeys(STAGES, "training")
    assert written == "4 of 4 files to write"


@pytest.mark.slow
def test_cache_folder_is_shared_between_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = tmp_path / "cache"
    recipe = write_recipe(tmp_path, feature_cache_dir=str(cache), **FAST)
    run(recipe, capsys)
    assert len(list(cache.iterdir())) == 4
    shutil.rmtree(tmp_path / "output")
    again, written = run(recipe, capsys)
    assert again == dict.fromkeys(STAGES, "training")
    assert written == "0 of 4 files to write"


def test_stage_is_complete_only_with_its_metrics(tmp_path: Path) -> None:
    stage = StageFolder(tmp_path / "head", {"seed": 1})
    assert stage.metrics() is None
    stage.begin(resume=False)
    (stage.path / "checkpoint-3").mkdir()
    assert stage.metrics() is None
    stage.begin(resume=True)
    assert (stage.path / "checkpoint-3").is_dir()
    StageFolder(stage.path, {"seed": 2}).begin(resume=True)
    assert not (stage.path / "checkpoint-3").exists()
    stage.begin(resume=True)
    (stage.path / "checkpoint-3").mkdir()
    stage.complete({"a": torch.arange(3)}, {"loss": 0.5})
    assert stage.metrics() == {"loss": 0.5}
    assert StageFolder(stage.path, {"seed": 2}).metrics() is None
    assert load_weights(stage.path)["a"].tolist() == [0, 1, 2]
    assert sorted(path.name for path in stage.path.iterdir()) == ["model.safetensors", "stage.json"]
    stage.begin(resume=False)
    assert stage.metrics() is None


def test_every_argument_is_known_to_count_or_not(tmp_path: Path) -> None:
    """A new argument must be added to one of the two tables, and to `RESULT_ARGUMENTS` if it counts."""
    args = StackedEmotionTrainingArguments(str(tmp_path), use_cpu=True, precision="fp32")
    names = [field.name for field in dataclasses.fields(args)]
    assert not COUNTS & WITHOUT_EFFECT
    assert set(names) == COUNTS | WITHOUT_EFFECT
    config = PreTrainedConfig(num_labels=2)
    settings = stage_settings(args, config, "weights", "rows")
    others = {"parallelism_config": SimpleNamespace(to_json=lambda: {"tp_size": 2})}
    for name in names:
        other = copy.copy(args)
        setattr(other, name, others.get(name, "another value"))
        assert (stage_settings(other, config, "weights", "rows") != settings) == (name in COUNTS), name
    assert stage_settings(args, PreTrainedConfig(num_labels=3), "weights", "rows") != settings
    assert stage_settings(args, config, "other weights", "rows") != settings
    assert stage_settings(args, config, "weights", "other rows") != settings
    # A checkpoint writes these fields.
    saved = PreTrainedConfig(num_labels=2, architectures=["Model"], dtype="float32")
    assert stage_settings(args, saved, "weights", "rows") == settings


# ---------------------------------------------------------------------------------------------- folds


@pytest.mark.slow
def test_folds_are_disjoint_and_complete_and_each_encoder_is_blind_to_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, on_optimizer: OnOptimizer
) -> None:
    trained: dict[str, list[list[int]]] = {}
    encoded: dict[str, list[list[int]]] = {}
    write = feature_cache.write_features

    def record(stage: str, trainer: StackedEmotionTrainer) -> None:
        if "words_input_ids" in trainer.train_dataset.column_names:
            trained[stage] = list(trainer.train_dataset["words_input_ids"])

    def write_file(file: Any, model: Any, rows: Any, *rest: Any) -> None:
        if "words_input_ids" in rows.column_names:
            encoded[file.path.name.rpartition("-")[0]] = list(rows["words_input_ids"])
        write(file, model, rows, *rest)

    on_optimizer(record)
    monkeypatch.setattr(staged_training, "write_features", write_file)
    states, written = run(write_recipe(tmp_path, num_folds=3, **FAST), capsys)
    encoders = [f"encoder_{name}{end}" for name in ("bytes", "words") for end in ("-fold_0", "-fold_1", "-fold_2", "")]
    assert list(states) == [*encoders, "head"]
    assert written == "8 of 8 files to write"
    everything = trained["encoder_words"]
    assert len(everything) == 60
    num_seen = 0
    for fold in range(3):
        inside, outside = encoded[f"words-train_fold_{fold}"], trained[f"encoder_words-fold_{fold}"]
        assert sorted(inside + outside) == sorted(everything)
        # Equal texts stay together, so that the folds are not quite alike.
        assert 15 <= len(inside) <= 25
        assert not {*map(tuple, inside)} & {*map(tuple, outside)}
        num_seen += len(inside)
    assert num_seen == 60
    # The folds begin with the weights that the encoder begins with, and end with others.
    stages = tmp_path / "output" / "checkpoints" / "stages"
    key = "stacked_emotion.encoders.words.embeddings.word_embeddings.weight"
    results = [load_weights(stages / stage)[key] for stage in encoders[4:]]
    assert all(not torch.equal(results[0], result) for result in results[1:])


def fold_rows(ids: list[list[int]]) -> datasets.Dataset:
    """Rows with a label each."""
    return datasets.Dataset.from_dict({"a_input_ids": ids, "labels": np.eye(len(ids)).tolist()})


def test_without_folds_all_texts_are_in_one() -> None:
    rows = fold_rows([[1], [2], [3], [4]])
    assert assign_folds(rows, 0, seed=1).tolist() == [0] * 4
    assert sorted(assign_folds(rows, 2, seed=1).tolist()) == [0, 0, 1, 1]
    with pytest.raises(InputError, match=r"^`num_folds` must be at most the number of training texts, 4, got 5\.$"):
        assign_folds(rows, 5, seed=1)


def test_texts_of_the_same_tokens_are_in_one_fold() -> None:
    rows = fold_rows([[index // 2, 7] for index in range(20)])
    for seed in range(3):
        folds = assign_folds(rows, 2, seed=seed)
        assert (folds[::2] == folds[1::2]).all()
        assert 0 < folds.sum() < 20


# ---------------------------------------------------------------------------------------------- bad fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"training_mode": "stages"}, r"`training_mode` must be one of joint, staged, got 'stages'\."),
        ({"num_folds": 1}, r"`num_folds` must be 0 \(none\) or at least 2, got 1\."),
        ({"num_folds": -2}, r"`num_folds` must be 0 \(none\) or at least 2, got -2\."),
        ({"head_num_train_epochs": 0}, r"`head_num_train_epochs` must be above 0, got 0\.0\."),
        ({"head_per_device_train_batch_size": 0}, r"`head_per_device_train_batch_size` must be at least 1, got 0\."),
        ({"polish_num_train_epochs": -1}, r"`polish_num_train_epochs` must be 0 \(none\) or more, got -1\.0\."),
        ({"polish_learning_rate": 0}, r"`polish_learning_rate` must be above 0, got 0\.0\."),
        (
            {"training_mode": "joint", "num_folds": 2},
            r"`num_folds` is for `training_mode: staged`, got joint: leave it",
        ),
        ({"training_mode": "joint", "feature_cache_dir": "x"}, r"`feature_cache_dir` is for `training_mode: staged`"),
        ({"lora_r": 2}, r"`lora_r` is for `training_mode: joint`, got staged\."),
        ({"max_steps": 7}, r"`max_steps` cannot count the steps of several stages, got 7: use `num_train_epochs`"),
        ({"resume_from_checkpoint": "x"}, r"Staged training finds its checkpoints itself: .* got 'x'\."),
        ({"fsdp": "full_shard"}, r"`training_mode: staged` keeps each encoder whole: use it without FSDP"),
    ],
)
def test_bad_field_is_refused_at_load(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        load_recipe(str(write_recipe(tmp_path, **({"training_mode": "staged"} | fields))))


def test_disk_that_is_too_small_stops_the_command_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    assert "The feature cache needs" in fails(train.main, capfd, write_recipe(tmp_path, **FAST))
    assert not list((tmp_path / "output" / "checkpoints").glob("features/*"))


# ---------------------------------------------------------------------------------------------- killed and resumed

KILLED = """
import os, signal, sys
import torch
from scripts import train
from trainer_ext.training.trainer import StackedEmotionTrainer
torch.set_num_threads(1)
method, count = sys.argv[1], int(sys.argv[2])
original = getattr(StackedEmotionTrainer, method)
def counted(*arguments, **options):
    global count
    count -= 1
    if not count:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
setattr(StackedEmotionTrainer, method, counted)
train.main(sys.argv[3:])
"""


def kill(recipe: Path, method: str, count: int, *overrides: str) -> None:
    """Run the command in a process of its own and kill it at a call of a method of the Trainer."""
    command = [sys.executable, "-c", KILLED, method, str(count), str(recipe), *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "fp32"},
        {"precision": "bf16"},
        # Each epoch of the head is better than the one before, if only just.
        {"early_stopping_patience": 1, "metric_for_best_model": "loss", "head_learning_rate": 5e-4},
    ],
)
def test_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    """Eight steps an epoch: killed within stage 1, while a checkpoint is written there, and within the head's."""
    fields = {"training_mode": "staged", "head_num_train_epochs": 3, "head_per_device_train_batch_size": 8}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    options = fields | {"dropout": 0.2} | changes
    run(write_recipe(tmp_path / "whole", **options), capsys)
    recipe = write_recipe(tmp_path / "killed", **options)
    stages = tmp_path / "killed" / "output" / "checkpoints" / "stages"
    # Within the second epoch of the first encoder.
    kill(recipe, "training_step", 13)
    assert [path.name for path in stages.glob("*/checkpoint-*")] == ["checkpoint-8"]
    # Its eight steps are there: in the second epoch's checkpoint, before the random state is written.
    kill(recipe, "_save_rng_state", 1, "--resume_from_checkpoint")
    assert not (stages / "encoder_bytes" / "checkpoint-16" / "trainer_state.json").exists()
    assert (stages / "encoder_bytes" / "checkpoint-16" / "model.safetensors").exists()
    # Eight steps of the first encoder, sixteen of the second, then into the head's second epoch.
    kill(recipe, "training_step", 8 + 16 + 12, "--resume_from_checkpoint")
    assert [path.parent.name for path in stages.glob("*/checkpoint-*")] == ["head"]
    states, written = run(recipe, capsys, "--resume_from_checkpoint")
    assert states == dict.fromkeys(STAGES[:2], "complete already") | {"head": "training"}
    assert written == "0 of 4 files to write"
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
