# SPDX-License-Identifier: Apache-2.0
"""
Emotions of texts by the ONNX files of this folder, with neither torch nor transformers.

    pip install numpy onnxruntime regex tokenizers
    python onnx_example.py "thank you so much!" "what a day"

Prints a JSON object for each text: the labels at or above their thresholds, best first.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

Tokenize = Callable[[Sequence[str]], dict[str, np.ndarray]]


class OnnxClassifier:
    """
    A classifier from a folder with `config.json`, the tokenizer's files and `onnx/`.

    Args:
        folder (`Path`): The folder.
        file (`str`, *optional*, defaults to `"model_int8.onnx"`): Or `"model.onnx"`, in fp32.
    """

    def __init__(self, folder: Path, file: str = "model_int8.onnx") -> None:
        config = _read_json(folder / "config.json")
        self.labels = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
        self.thresholds = np.array(config.get("thresholds") or [0.5] * len(self.labels))
        self.session = onnxruntime.InferenceSession(folder / "onnx" / file, providers=["CPUExecutionProvider"])
        is_stacked = config["model_type"] == "stacked_emotion"
        self.tokenize = _stacked_tokenizer(folder) if is_stacked else _stock_tokenizer(folder)

    def predict_probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of shape `(num_texts, num_labels)`."""
        tokens = self.tokenize(texts)
        inputs = {node.name: tokens[node.name] for node in self.session.get_inputs()}
        logits = self.session.run(["logits"], inputs)[0]
        return 1 / (1 + np.exp(-logits.astype(np.float64)))

    def __call__(self, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
        """For each text `label` and `score` of the labels at or above their thresholds, best first."""
        found = []
        for row in self.predict_probabilities(texts):
            chosen = [index for index in np.argsort(-row) if row[index] >= self.thresholds[index]]
            found.append([{"label": self.labels[index], "score": float(row[index])} for index in chosen])
        return found


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _stacked_tokenizer(folder: Path) -> Tokenize:
    """The part of the folder's own tokenizer that needs no transformers."""
    # Its files import each other as those of a package: the folder is made one, whatever it is called.
    package = ModuleType("stacked_emotion")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    encoding, static, text = (
        importlib.import_module(f"{package.__name__}.{name}_stacked_emotion")
        for name in ("encoding", "static_tokenizer", "text")
    )
    settings = _read_json(folder / "tokenizer_config.json")
    tokenizers: dict[str, Any] = {}
    for name in settings["encoders"]:
        own = folder / f"{name}_tokenizer"
        if static.StaticWordsTokenizer.is_saved_in(own):
            tokenizers[name] = static.StaticWordsTokenizer.from_pretrained(own)
        else:
            tokenizers[name] = Tokenizer.from_file(str(own / "tokenizer.json"))
            tokenizers[name].no_padding()
            tokenizers[name].no_truncation()
    encoder = encoding.TextEncoder(tokenizers, settings["normalizations"])

    def tokenize(texts: Sequence[str]) -> dict[str, np.ndarray]:
        cleaned = [text.clean_surrogates(each) for each in texts]
        _, rows, _ = encoder.encode(cleaned, settings["max_words"], settings["max_tokens"])
        # The attention mask hides whatever stands behind a text's end.
        return encoding.pad_rows(rows, dict.fromkeys(tokenizers, 0))

    return tokenize


def _stock_tokenizer(folder: Path) -> Tokenize:
    settings = _read_json(folder / "tokenizer_config.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(settings["pad_token"]), pad_token=settings["pad_token"])
    tokenizer.enable_truncation(settings["model_max_length"])

    def tokenize(texts: Sequence[str]) -> dict[str, np.ndarray]:
        encodings = tokenizer.encode_batch(list(texts))
        fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        return {
            name: np.array([getattr(encoding, field) for encoding in encodings], dtype=np.int64)
            for name, field in fields.items()
        }

    return tokenize


def main(argv: Sequence[str] | None = None) -> None:
    """Classify the texts of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--file", default="model_int8.onnx", help="of onnx/ (default: model_int8.onnx)")
    options = parser.parse_args(argv)
    classifier = OnnxClassifier(Path(__file__).resolve().parent, options.file)
    for text, emotions in zip(options.texts, classifier(options.texts), strict=True):
        print(json.dumps({"text": text, "emotions": emotions}, ensure_ascii=False))  # noqa: T201


if __name__ == "__main__":
    main()
