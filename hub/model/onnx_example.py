# SPDX-License-Identifier: Apache-2.0
"""
Emotions of texts by the ONNX files of this folder, with neither torch nor transformers.

    pip install numpy onnxruntime regex tokenizers
    python onnx_example.py "thank you so much!" "what a day"

Prints a JSON object for each text, in UTF-8: the labels at or above their thresholds, best first, each with the words
that speak for it.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

Span = tuple[int, int]
# Texts to the inputs of the graph, and the character spans of their words; none for models without words.
Tokenize = Callable[[Sequence[str]], tuple[dict[str, np.ndarray], list[list[Span]]]]


class OnnxClassifier:
    """
    A classifier from a folder with `config.json`, the tokenizer's files and `onnx/`.

    Args:
        folder (`Path`): The folder.
        file (`str`, *optional*, defaults to `"onnx/model_int8.onnx"`): Or `"onnx/model.onnx"`, in fp32.
        code (`Path`, *optional*): The folder of the files `*_stacked_emotion.py`, if they are not beside the weights.
        optimized (`bool`, *optional*, defaults to `True`): Whether the runtime reworks the graph first: it pays from
            the second batch on.

    Raises:
        `OSError`: If a file is missing.
        `ValueError`, `TypeError`: If a file is damaged, or the tokenizer or the thresholds are not the model's.
    """

    def __init__(
        self, folder: Path, file: str = "onnx/model_int8.onnx", code: Path | None = None, *, optimized: bool = True
    ) -> None:
        load = _code_loader(code or folder)
        checks = load("checks")
        config = checks.read_object(folder / "config.json")
        self.labels = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
        self.thresholds = 0.5 if config.get("thresholds") is None else config["thresholds"]
        if self.thresholds != 0.5:
            checks.check_thresholds(self.thresholds, self.labels)
        self.source_thresholds = config.get("source_thresholds") or {}
        for values in self.source_thresholds.values():
            checks.check_thresholds(values, self.labels)
        self.scripts = config.get("scripts")
        options = onnxruntime.SessionOptions()
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])
        self.clean = load("text").clean_surrogates
        self.describe = load("description").describe_emotions
        is_stacked = config["model_type"] == "stacked_emotion"
        self.tokenize = (_stacked_tokenizer if is_stacked else _stock_tokenizer)(folder, config, load)

    def __call__(
        self, texts: Sequence[str], threshold: float | None = None, top_words: int = 3
    ) -> list[dict[str, Any]]:
        """
        Answer as the pipeline of the model does.

        Args:
            texts (`Sequence[str]`): Any texts.
            threshold (`float`, *optional*): One for all labels instead of the model's own.
            top_words (`int`, *optional*, defaults to 3): How many words to name, for each emotion and by attention.

        Returns:
            `list[dict]`: For each text `text`, with U+FFFD for lone surrogates; `emotions`, the labels at or above
            their thresholds with `score`, `threshold` and `words`, best first; each of `words` with `start`, `end` and
            `part`, what it adds to the logit, none for models without words; `attention`, the words by attention, with
            `weight`; and `unfamiliar_script`, the name of a script that the model was not trained on, for texts that
            are mostly in one.
        """
        texts = [self.clean(text) for text in texts]
        tokens, words = self.tokenize(texts)
        inputs = {node.name: tokens[node.name] for node in self.session.get_inputs()}
        names = [node.name for node in self.session.get_outputs()]
        outputs = dict(zip(names, self.session.run(names, inputs), strict=True))
        probabilities = 1 / (1 + np.exp(-outputs["logits"].astype(np.float64)))
        # Models without words have neither, and some heads are no sum over words.
        parts, attention = (outputs.get(name, np.zeros((len(texts), 0))) for name in ("word_parts", "word_attention"))
        thresholds = self.thresholds if threshold is None else threshold
        return [
            self.describe(text, self.labels, scores, thresholds, *of_words, top_words, self.scripts)
            for text, scores, *of_words in zip(
                texts, probabilities.tolist(), words, parts.tolist(), attention.tolist(), strict=True
            )
        ]


def _code_loader(folder: Path) -> Callable[[str], Any]:
    """A function that imports `<name>_stacked_emotion.py` of the folder."""
    # The files import each other as those of a package: their folder is made one, whatever it is called.
    package = ModuleType("stacked_emotion")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    return lambda name: importlib.import_module(f"{package.__name__}.{name}_stacked_emotion")


def _stacked_tokenizer(folder: Path, config: dict[str, Any], load: Callable[[str], Any]) -> Tokenize:
    """The part of the folder's own tokenizer that needs no transformers."""
    checks, encoding, static = load("checks"), load("encoding"), load("static_tokenizer")
    settings = checks.read_tokenizer_settings(folder / "tokenizer_config.json")
    if set(settings["encoders"]) != set(config["encoders"]):
        raise ValueError(f"The tokenizer has the encoders {settings['encoders']}, the model {[*config['encoders']]}.")
    tokenizers: dict[str, Any] = {}
    for name, encoder in config["encoders"].items():
        own = folder / f"{name}_tokenizer"
        if static.StaticWordsTokenizer.is_saved_in(own):
            tokenizers[name] = static.StaticWordsTokenizer.from_pretrained(own)
        else:
            tokenizers[name] = _read_tokenizer(own / "tokenizer.json")
            tokenizers[name].no_padding()
            tokenizers[name].no_truncation()
            checks.check_vocabulary(name, _num_ids(tokenizers[name]), encoder.get("vocab_size"))
            limit = encoder.get("max_position_embeddings") or settings["max_tokens"]
            if settings["max_tokens"] > limit:
                raise ValueError(
                    f"`max_tokens` is {settings['max_tokens']}, but {name!r} takes at most {limit} tokens."
                )
    encoder = encoding.TextEncoder(tokenizers, settings["normalizations"])

    def tokenize(texts: Sequence[str]) -> tuple[dict[str, np.ndarray], list[list[Span]]]:
        words, rows, _ = encoder.encode(list(texts), settings["max_words"], settings["max_tokens"])
        # The attention mask hides whatever stands behind a text's end.
        return encoding.pad_rows(rows, dict.fromkeys(tokenizers, 0)), words

    return tokenize


def _read_tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except BaseException as error:
        # A panic of the library, which is no `Exception`.
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"{path} is damaged: {error}") from error


def _num_ids(tokenizer: Tokenizer) -> int:
    """The ids that it may give; those of special tokens stand in its rules, too."""
    return max([*tokenizer.get_vocab().values(), *tokenizer.encode("").ids], default=-1) + 1


def _stock_tokenizer(folder: Path, config: dict[str, Any], load: Callable[[str], Any]) -> Tokenize:
    checks = load("checks")
    settings = checks.read_object(folder / "tokenizer_config.json")
    tokenizer = _read_tokenizer(folder / "tokenizer.json")
    checks.check_vocabulary("the model", _num_ids(tokenizer), config.get("vocab_size"))
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(settings["pad_token"]), pad_token=settings["pad_token"])
    tokenizer.enable_truncation(settings["model_max_length"])

    def tokenize(texts: Sequence[str]) -> tuple[dict[str, np.ndarray], list[list[Span]]]:
        encodings = tokenizer.encode_batch(list(texts))
        fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        inputs = {
            name: np.array([getattr(encoding, field) for encoding in encodings], dtype=np.int64)
            for name, field in fields.items()
        }
        return inputs, [[] for _ in texts]

    return tokenize


def main(argv: Sequence[str] | None = None) -> None:
    """Classify the texts of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--file", default="model_int8.onnx", help="of onnx/ (default: model_int8.onnx)")
    options = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    classifier = OnnxClassifier(Path(__file__).resolve().parent, f"onnx/{options.file}")
    for answer in classifier(options.texts):
        print(json.dumps(answer, ensure_ascii=False))  # noqa: T201


if __name__ == "__main__":
    main()
