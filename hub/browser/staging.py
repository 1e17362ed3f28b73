# SPDX-License-Identifier: Apache-2.0
"""The files of the Space that runs a model in the browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modeling_stacked_emotion.checks_stacked_emotion import read_object, read_tokenizer_settings
from modeling_stacked_emotion.scripts_stacked_emotion import SCRIPT_NAMES
from trainer_ext.errors import InputError, reading
from trainer_ext.files import write_file

from ..languages import known_languages
from ..model.quick import GRAPH_FILE, WEIGHTS_FILE, fingerprint
from ..model.widget import TEXTS
from ..templates import render_space_card
from .npm import ONNXRUNTIME, TOKENIZERS, read_files
from .tables import character_classes, html_entities

HERE = Path(__file__).resolve().parent
PAGE = ("index.html", "style.css", "app.js", "worker.js", "encoding.js", "tokenizer.js", "words.js", "files.js")
_VENDORED = {
    ONNXRUNTIME: ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"),
    TOKENIZERS: ("dist/tokenizers.min.mjs", "LICENSE"),
}
_WASM = "vendor/ort-wasm-simd-threaded.wasm"
_MODEL_FILES = ("config.json", "tokenizer_config.json", WEIGHTS_FILE)
_EXAMPLES_PER_LANGUAGE = 3
# The parts of a `tokenizer.json` that `tokenizer.js` has.
COMPONENTS = {
    "normalizer": {
        *("Sequence", "BertNormalizer", "Lowercase", "Precompiled", "Prepend", "Replace", "Strip", "StripAccents"),
        *("NFC", "NFKC", "NFD", "NFKD"),
    },
    "pre_tokenizer": {
        *("Sequence", "BertPreTokenizer", "ByteLevel", "Digits", "Metaspace", "Punctuation", "Split", "Whitespace"),
        "WhitespaceSplit",
    },
    "model": {"WordPiece", "Unigram", "BPE"},
    "post_processor": {"Sequence", "TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel"},
}


def stage_browser(
    source: Path, folder: Path, *, repo_id: str, model_id: str, model_revision: str | None = None
) -> None:
    """
    Fill an empty folder with the Space that runs a model in the visitor's browser.

    The weights are those of the model's own safetensors file. A graph beside them is taken if it is of these weights;
    otherwise it is made, which needs the packages of the extra `onnx`. The files of npm packages come from their cache
    or from the registry, see [`~npm.fetch`].

    Args:
        source (`Path`): The `output_dir` of `scripts.train`.
        folder (`Path`): An empty folder.
        repo_id (`str`): The Space, `owner/name`.
        model_id (`str`): The model on the Hub, `owner/name`, which the page links to.
        model_revision (`str`, *optional*): Its commit, tag or branch; `main` by default.

    Raises:
        `InputError`: If the model cannot run in a browser, see [`browser_problem`], or a package cannot be fetched.
        `MissingPackageError`: If the graph is to be made and a package for it is not installed.
    """
    if problem := browser_problem(source):
        raise InputError(problem)
    config = read_object(source / "config.json")
    names = [*_MODEL_FILES, *(f"{name}_tokenizer/tokenizer.json" for name in config["encoders"])]
    for name in names:
        target = folder / "model" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target)
    _add_graph(source, folder / "model")
    for package, files in _VENDORED.items():
        for path, content in read_files(package, files).items():
            name = Path(path).name
            write_file(folder / "vendor" / (f"tokenizers.{name}" if name == "LICENSE" else name), content)
    for name in PAGE:
        shutil.copyfile(HERE / name, folder / name)
    needs_entities = "arabert" in read_object(source / "tokenizer_config.json")["normalizations"].values()
    tables = {
        "classes": character_classes(),
        "scripts": SCRIPT_NAMES,
        "entities": html_entities() if needs_entities else None,
    }
    write_file(folder / "tables.json", json.dumps(tables))
    loaded = (_WASM, "tables.json", f"model/{GRAPH_FILE}", *(f"model/{name}" for name in names))
    space: dict[str, Any] = {
        "model_id": model_id,
        "examples": _examples(config.get("languages")),
        "files": {name: (folder / name).stat().st_size for name in loaded},
    }
    write_file(folder / "space.json", json.dumps(space, indent=2, ensure_ascii=False) + "\n")
    write_file(folder / "README.md", _card(repo_id, model_id, model_revision, sum(space["files"].values())))


def browser_problem(source: Path) -> str | None:
    """
    Why a model cannot run in a browser; `None` if it can.

    Args:
        source (`Path`): The model's folder.

    Raises:
        `InputError`, `OSError`: If it is not the folder of a trained model.
    """
    with reading(f"{source} is not the folder of a trained model"):
        config = read_object(source / "config.json")
        if config.get("model_type") != "stacked_emotion":
            return f"{source} cannot run in a browser: it is a {config.get('model_type')}, and no stacked model."
        settings = read_tokenizer_settings(source / "tokenizer_config.json")
        if not (source / WEIGHTS_FILE).is_file():
            return f"{source} cannot run in a browser: it has no {WEIGHTS_FILE}, its weights in one file."
        for name in settings["encoders"]:
            path = source / f"{name}_tokenizer" / "tokenizer.json"
            if not path.is_file():
                return f"{source} cannot run in a browser: its encoder {name!r} has no fast tokenizer."
            if unknown := next(_unknown_parts(read_object(path)), None):
                return f"{source} cannot run in a browser: the tokenizer of {name!r} has {unknown}."
    return None


def _unknown_parts(tokenizer: Mapping[str, Any]) -> Iterator[str]:
    for kind, known in COMPONENTS.items():
        for part in _parts(tokenizer.get(kind)):
            if part["type"] not in known:
                yield f"a {kind} that the page does not have, {part['type']}"
    if tokenizer["model"].get("continuing_subword_prefix") and tokenizer["model"]["type"] == "BPE":
        yield "byte pairs with a prefix, which the page does not have"


def _parts(config: Any) -> Iterator[Mapping[str, Any]]:
    if config:
        yield config
        for inner in ("normalizers", "pretokenizers", "processors"):
            for part in config.get(inner, ()):
                yield from _parts(part)


def _add_graph(source: Path, folder: Path) -> None:
    graph = source / GRAPH_FILE
    if graph.is_file() and fingerprint(source).encode() in graph.read_bytes():
        shutil.copyfile(graph, folder / GRAPH_FILE)
        return
    # Needs packages that nothing else here needs.
    from ..model.onnx_export import write_graph

    # The folder here has no tokenizer of transformers, which the export's check wants.
    for path in source.glob("*_tokenizer/tokenizer_config.json"):
        shutil.copyfile(path, folder / path.relative_to(source))
    write_graph(folder)


def _examples(languages: list[str] | None) -> list[str]:
    known = known_languages(languages or ["en"], TEXTS)
    return [text for language in known for text in TEXTS[language][:_EXAMPLES_PER_LANGUAGE]]


def _card(repo_id: str, model_id: str, model_revision: str | None, num_bytes: int) -> str:
    own: dict[str, str] = {
        "title": "Emotions in text, in your browser",
        "sdk": "static",
        "app_file": "index.html",
        "short_description": "Emotions of texts that never leave your browser",
    }
    return render_space_card(
        HERE / "card_template.md",
        own,
        repo_id=repo_id,
        model_id=model_id,
        model_revision=model_revision,
        megabytes=round(num_bytes / 1e6),
        onnxruntime=ONNXRUNTIME,
        tokenizers=TOKENIZERS,
    )
