# SPDX-License-Identifier: Apache-2.0
"""From a trained folder to the files of its repository on the Hub: exactly those, the same bytes every time."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub.utils import yaml_dump

import modeling_stacked_emotion
from trainer_ext.errors import InputError, reading
from trainer_ext.files import write_file
from trainer_ext.loading import load_config

from .card import CardContext, evaluation_entries, is_custom, render_card
from .encoders import check_licenses, find_encoder
from .folder import REPORTS
from .probes import read_probe_results
from .summary import SUMMARY_NAME, TrainingSummary, read_summary
from .widget import widget_examples

HERE = Path(__file__).parent

_CODE = sorted(Path(modeling_stacked_emotion.__file__).parent.glob("*_stacked_emotion.py"))
_NEEDED = ("config.json", "tokenizer_config.json", "eval_results.json")
_TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model", "spm.model"),
    "vocabulary.json",
)


def stage_model(
    source: Path,
    folder: Path,
    *,
    repo_id: str,
    revision: str | None = None,
    onnx: bool = False,
    language: Sequence[str] | None = None,
    license: str = "apache-2.0",
    encoders: Mapping[str, str] | None = None,
    dataset: str | None = None,
    with_code: bool = True,
    page: str | None = None,
) -> list[str]:
    """
    Fill an empty folder with the files of a model repository.

    Checkpoints, logs, predictions and caches of training are not among them: only files that are known to belong to a
    model are copied. The code is this project's, also where the folder has an older one: the widget's
    outputs and the ONNX files are made by it.

    Args:
        source (`Path`): The `output_dir` of `scripts.train`, or a stock multi-label classifier with its
            `eval_results.json`.
        folder (`Path`): An existing empty folder.
        repo_id (`str`): `user/name` on the Hub.
        revision (`str`, *optional*): Branch, tag or commit that the card's snippets are pinned to; `main` when absent.
        onnx (`bool`, *optional*, defaults to `False`): Whether to add the model as ONNX, in fp32 and int8.
        language (`Sequence[str]`, *optional*): Codes of the languages that the model reads; when absent, those that it
            was trained on, or else those of its encoders.
        license (`str`, *optional*, defaults to `"apache-2.0"`): Licence identifier of the Hub, for model and code.
        encoders (`dict[str, str]`, *optional*): Encoder name to Hub id, where training read the encoder from a folder.
        dataset (`str`, *optional*): Hub id of the data set, or `id:configuration`, where training read it from files.
        with_code (`bool`, *optional*, defaults to `True`): Whether the model's code is added. Without it the folder is
            for a checkout of this project, whose classes load it, and its card says so.
        page (`str`, *optional*): The Space that runs the model in a browser, `user/name`, which the card links to.

    Returns:
        `list[str]`: The languages that the card names; where none is known, its examples are English.

    Raises:
        `FileNotFoundError`: If a file of the model is missing.
        `InputError`: If an argument is wrong, the model is not a multi-label classifier with
            named labels, or an encoder's licence forbids `license`.
    """
    config, results = _read_source(source)
    summary = _complete(read_summary(source), config, encoders, dataset)
    origins = [find_encoder(origin) for origin in summary.encoders.values()]
    check_licenses(origins, license)
    of_encoders = dict.fromkeys(code for origin in origins for code in origin.languages)
    languages = list(language or getattr(config, "languages", None) or of_encoders)

    _copy_files(source, folder, config, with_code)
    if license == "apache-2.0" and with_code:
        shutil.copyfile(HERE.parent.parent / "LICENSE", folder / "LICENSE")
    figures = _copy_figures(source, folder)
    if onnx:
        # Needs packages that nothing else here needs.
        from .onnx_export import export_onnx

        export_onnx(source, folder)
    write_file(folder / SUMMARY_NAME, summary.to_json())
    card = CardContext(
        config,
        results,
        summary,
        repo_id,
        revision=revision or "main",
        languages=languages,
        license=license,
        # Without a known language the texts are English ones, as most models are.
        examples=widget_examples(folder, languages or ["en"]),
        figures=figures,
        onnx=onnx,
        with_code=with_code,
        page=page,
        probes=read_probe_results(source) or {},
    )
    entries = evaluation_entries(card)
    if entries and with_code:
        name = str(summary.dataset).rpartition("/")[2]
        write_file(folder / ".eval_results" / f"{name}.yaml", yaml_dump(entries))
    write_file(folder / "README.md", render_card(card))
    return languages


def _copy_files(source: Path, folder: Path, config: Any, with_code: bool) -> None:
    for name in _files(source, config):
        (folder / name).parent.mkdir(exist_ok=True)
        # Not its rights: weights are written readable by their owner only.
        shutil.copyfile(source / name, folder / name)
    if is_custom(config) and with_code:
        for path in (*_CODE, HERE / "handler.py", HERE / "requirements.txt"):
            shutil.copyfile(path, folder / path.name)


def _read_source(source: Path) -> tuple[Any, dict[str, float]]:
    _check_files(source, _NEEDED)
    with reading(f"{source} is not the folder of a trained model"):
        config = load_config(str(source))
        results = json.loads((source / "eval_results.json").read_text(encoding="utf-8"))
    if config.problem_type != "multi_label_classification":
        raise InputError(
            f"{source / 'config.json'}: `problem_type` must be 'multi_label_classification', got "
            f"{config.problem_type!r}; the stock pipeline would use softmax."
        )
    if any(re.fullmatch(r"LABEL_\d+", label) for label in config.id2label.values()):
        raise InputError(f"{source / 'config.json'}: `id2label` must name the labels, got {config.id2label}.")
    return config, results


def _complete(
    summary: TrainingSummary, config: Any, encoders: Mapping[str, str] | None, dataset: str | None
) -> TrainingSummary:
    """The summary with origins that only the publisher knows."""
    names = list(config.encoders) if is_custom(config) else ["encoder"]
    unknown = sorted(set(encoders or {}) - {*names, *summary.encoders})
    if unknown:
        raise InputError(f"`encoders` may name {', '.join(names)}; got {', '.join(unknown)}.")
    origins = {**(summary.encoders or dict.fromkeys(names, "not recorded")), **(encoders or {})}
    if "not recorded" in origins.values():
        warnings.warn("The origins of the encoders are not recorded: name them with `encoders`.", stacklevel=3)
    summary = replace(summary, encoders=origins)
    if dataset is None:
        return summary
    name, _, configuration = dataset.partition(":")
    return replace(summary, dataset=name, dataset_config=configuration or None, dataset_revision=None)


def _files(source: Path, config: Any) -> list[str]:
    """The files to copy, as paths within the folder."""
    tokenizers = [f"{name}_tokenizer/" for name in config.encoders] if is_custom(config) else []
    needed = [*_NEEDED, *_weights(source), *(f"{folder}tokenizer_config.json" for folder in tokenizers)]
    _check_files(source, needed)
    optional = [*REPORTS, *(f"{folder}{file}" for folder in ("", *tokenizers) for file in _TOKENIZER_FILES)]
    return sorted({*needed, *(name for name in optional if (source / name).is_file())})


def _weights(source: Path) -> list[str]:
    index = source / "model.safetensors.index.json"
    if (source / "model.safetensors").is_file() or not index.is_file():
        return ["model.safetensors"]
    return [index.name, *json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()]


def _check_files(source: Path, names: Sequence[str]) -> None:
    for name in names:
        if not (source / name).is_file():
            raise FileNotFoundError(f"{source} has no {name}: give the folder that `scripts.train` left.")


def _copy_figures(source: Path, folder: Path) -> list[str]:
    """The figures that the card shows; of the reports of all evaluations, or those of the last stage, the last."""
    for stage in ("", "polish", "head"):
        reports = (source / "reports" / stage).glob("label_correlation_*.png")
        last = max(reports, key=lambda path: int(path.stem.rpartition("_")[2]), default=None)
        if last:
            shutil.copyfile(last, folder / "label_correlation.png")
            break
    return sorted(path.name for path in folder.glob("*.png"))
