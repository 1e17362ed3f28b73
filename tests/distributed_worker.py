# SPDX-License-Identifier: Apache-2.0
"""
What `test_distributed.py` compares: runs of the Trainer whose only difference is the number of processes.

Started as `python distributed_worker.py ENCODERS RESULTS NAME ...` with the variables of torchrun in its environment;
every process leaves what it found in `RESULTS/<rank>.pt`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy
from conftest import LABELS, stock_classifier
from test_trainer import encode, without_dropout
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoTokenizer, EvalPrediction, TrainerCallback
from transformers.trainer_utils import set_seed

from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.data.batching import EmotionDataCollator
from trainer_ext.evaluation.results import compute_validation_metrics
from trainer_ext.evaluation.thresholds import tune_thresholds
from trainer_ext.losses.gathering import gather_batch
from trainer_ext.training.arguments import StackedEmotionTrainingArguments
from trainer_ext.training.trainer import StackedEmotionTrainer

# Seven batches of eight.
NUM_TRAIN_ROWS = 56
CONTRASTIVE = {"contrastive_loss_weight": 0.2, "contrastive_temperature": 0.5}
TERMS: dict[str, dict[str, Any]] = {
    "laplacian": {"correlation_loss": "laplacian", "correlation_loss_weight": 2.0, **CONTRASTIVE},
    "matching_memory": {"correlation_loss": "matching", "contrastive_memory_size": 12, **CONTRASTIVE},
    "lca_weighted": {"correlation_loss": "lca", "class_weights": "sqrt", "encoder_loss_weight": 0.5, **CONTRASTIVE},
    "accumulated": {"correlation_loss": "matching", "gradient_accumulation_steps": 2, "max_steps": 6, **CONTRASTIVE},
    "unknown_labels": {
        **{"correlation_loss": "matching", "correlation_loss_weight": 0.02},
        **{"contrastive_memory_size": 12, "class_weights": "sqrt"},
        **CONTRASTIVE,
    },
    "no_auxiliary": {"auxiliary_loss_weight": 0.0, "max_steps": 3},
    "no_base": {"base_loss_weight": 0.0, "max_steps": 3, **CONTRASTIVE},
}
Results = dict[str, Any]


def build(kind: str, encoders: Path) -> tuple[Any, Any]:
    """Our model on three encoders, or a BERT classifier of transformers, and its tokenizer."""
    set_seed(0)
    if kind == "ours":
        folders = {path.name: path for path in sorted(encoders.iterdir())}
        tokenizer: Any = StackedEmotionTokenizer.from_encoders(folders)
        model: Any = StackedEmotionForSequenceClassification.from_encoders(
            folders, id2label=LABELS, meta_hidden_size=24, lstm_hidden_size=16
        )
        return model, tokenizer
    tokenizer = AutoTokenizer.from_pretrained(encoders / "bert_wp")
    return stock_classifier(tokenizer), tokenizer


class Recorder(TrainerCallback):
    """Keeps the gradients of the first step."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor | None] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.gradients:
            for name, parameter in kwargs["model"].named_parameters():
                self.gradients[name] = None if parameter.grad is None else parameter.grad.clone()


def without_some_labels(rows: datasets.Dataset) -> datasets.Dataset:
    """The rows with a third of their labels unknown, and some without any known label."""
    labels = np.asarray(rows["labels"], dtype=np.float32)
    labels[np.random.default_rng(0).random(labels.shape) < 0.33] = np.nan
    labels[::7] = np.nan
    return rows.remove_columns("labels").add_column("labels", list(labels))


def make_trainer(
    kind: str, encoders: Path, folder: Path, num_processes: int, *, is_complete: bool = True, **options: Any
) -> StackedEmotionTrainer:
    """A trainer whose batches hold eight texts over all processes; `options` are training arguments."""
    model, tokenizer = build(kind, encoders)
    fields = {
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "use_cpu": True,
        "precision": "fp32",
        "disable_tqdm": True,
        "per_device_train_batch_size": 8 // num_processes,
        "per_device_eval_batch_size": 8 // num_processes,
        "max_steps": 5,
        "logging_steps": 1,
        "optim": "sgd",
        "learning_rate": 0.1,
        "head_learning_rate": 0.1,
        "warmup_steps": 0,
        "max_grad_norm": 0.0,
    }
    rows = encode(tokenizer) if is_complete else without_some_labels(encode(tokenizer))
    return StackedEmotionTrainer(
        model=model,
        args=StackedEmotionTrainingArguments(str(folder), **{**fields, **options}),
        train_dataset=rows.select(range(NUM_TRAIN_ROWS)),
        eval_dataset=rows,
        data_collator=EmotionDataCollator(tokenizer),
        processing_class=tokenizer,
        compute_metrics=with_thresholds,
    )


def with_thresholds(prediction: EvalPrediction) -> dict[str, float]:
    """The metrics of training, the rows they are from, and the thresholds found."""
    probabilities = 1 / (1 + torch.from_numpy(prediction.predictions).double().neg().exp().numpy())
    thresholds = tune_thresholds(prediction.label_ids, probabilities)
    names = {f"threshold_{index}": value for index, value in enumerate(thresholds)}
    return compute_validation_metrics(prediction) | names | {"num_rows": len(prediction.label_ids)}


def train(kind: str, terms: str, encoders: Path, folder: Path, num_processes: int) -> Results:
    """Losses, first gradients and last weights of a few steps without dropout, and an evaluation."""
    is_complete = terms != "unknown_labels"
    trainer = make_trainer(kind, encoders, folder, num_processes, is_complete=is_complete, **TERMS[terms])
    without_dropout(trainer.model)
    recorder = Recorder()
    trainer.add_callback(recorder)
    start = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    evaluation = trainer.evaluate()
    return {
        "start": start,
        "losses": [
            {key: value for key, value in line.items() if key.startswith("loss")} for line in trainer.state.log_history
        ],
        "gradients": recorder.gradients,
        "weights": {name: value.clone() for name, value in trainer.model.state_dict().items()},
        "evaluation": {
            key: value for key, value in evaluation.items() if "per_second" not in key and "time" not in key
        },
        "find_unused": getattr(trainer.model_wrapped, "find_unused_parameters", None),
    }


def resume(kind: str, strategy: str, encoders: Path, folder: Path, num_processes: int) -> Results:
    """The weights of a run with dropout, and of one that goes on from its checkpoint within the second epoch."""
    options: dict[str, Any] = {
        "max_steps": 10,
        "save_strategy": "steps",
        "save_total_limit": None,
        "optim": "adamw_torch",
    }
    options |= {"train_sampling_strategy": strategy, **TERMS["matching_memory"], "learning_rate": 1e-3}
    found = {}
    for name, save_steps, checkpoint in (("whole", 8, None), ("resumed", 100, "checkpoint-8")):
        trainer = make_trainer(kind, encoders, folder / name, num_processes, save_steps=save_steps, **options)
        trainer.train(resume_from_checkpoint=checkpoint and str(folder / "whole" / checkpoint))
        found[name] = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    return found


def refusal(kind: str, _: str, encoders: Path, folder: Path, num_processes: int) -> Results:
    """What is said about batches of several sizes."""
    try:
        make_trainer(kind, encoders, folder, num_processes, accelerator_config={"even_batches": False})
    except ValueError as error:
        return {"message": str(error)}
    return {}


def fsdp(kind: str, _: str, encoders: Path, folder: Path, num_processes: int) -> Results:
    """Losses and weights of three steps, in several processes with weights in shares as Accelerate makes them."""
    model, tokenizer = build(kind, encoders)
    without_dropout(model)
    if num_processes > 1:
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", reshard_after_forward=True, cpu_offload=False
        )
        is_shared = fsdp2_prepare_auto_wrap_policy(plugin, model)
        for module in list(reversed(list(model.modules())))[:-1]:
            if is_shared(module):
                fully_shard(module)
        fully_shard(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rows, collator, losses = encode(tokenizer), EmotionDataCollator(tokenizer), []
    share = 8 // num_processes
    for start in range(int(os.environ.get("RANK", "0")) * share, 24, 8):
        inputs = collator([rows[index] for index in range(start, start + share)])
        labels = gather_batch(inputs.pop("labels"))
        outputs = model(**inputs)
        logits = map(gather_batch, (outputs.logits, outputs.auxiliary_logits, outputs.encoder_logits.mean(dim=1)))
        loss = sum(binary_cross_entropy_with_logits(values, labels) for values in logits)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model, options=options)
    if weights:
        # As `whole_model` does it.
        whole = type(model)(model.config)
        whole.load_state_dict(weights)
        weights = whole.state_dict()
    num_shares = sum(hasattr(parameter, "full_tensor") for parameter in model.parameters())
    return {"losses": losses, "weights": weights, "num_shares": num_shares, "num_all": len(list(model.parameters()))}


JOBS = {"train": train, "resume": resume, "refusal": refusal, "fsdp": fsdp}


def run(name: str, encoders: Path, folder: Path, num_processes: int) -> Results:
    """A job by its name: job, kind of model and variant, such as `train-ours-laplacian`."""
    job, kind, variant = name.split("-")
    return JOBS[job](kind, variant, encoders, folder / name, num_processes)


def main() -> None:
    """Run all jobs that the command line names."""
    encoders, folder, *names = sys.argv[1:]
    results = {name: run(name, Path(encoders), Path(folder), int(os.environ["WORLD_SIZE"])) for name in names}
    torch.save(results, Path(folder) / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    main()
