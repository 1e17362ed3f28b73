# SPDX-License-Identifier: Apache-2.0
"""
Emotions of texts, with the words that decided.

Usage:
    python -m scripts.predict "first text" "second text"
    python -m scripts.predict --model DIR --input texts.txt --json > emotions.jsonl
    python -m scripts.predict --model DIR --input posts.csv --text_column post
    cat texts.txt | python -m scripts.predict --model DIR --json

Without --model it is the small English one that comes with this repository, and no network is needed. Standard input
and a .txt file hold one text per line; in a csv, tsv, jsonl, json or parquet file the texts are a column, which is
found as in training. Files of any length are read as they are classified, except json arrays, parquet and compressed
files, which are read as a whole.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from hub.model.mini import mini_model
from hub.model.quick import quick_classifier
from trainer_ext.errors import InputError, check_integer, printable, reading

from ._command import command, command_parser

if TYPE_CHECKING:
    from rich.console import Console

_BAR_WIDTH = 20


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts; without any, lines of --input or stdin")
    parser.add_argument("--model", help="folder of a trained model, or Hub id (default: the one of this repository)")
    parser.add_argument("--input", metavar="FILE", help="txt (a text per line), csv, tsv, jsonl, json or parquet file")
    parser.add_argument("--text_column", help="column of the texts in that file (default: found by name)")
    parser.add_argument("--json", action="store_true", help="JSON lines, UTF-8, instead of bars and colours")
    parser.add_argument("--threshold", type=float, help="one threshold for all labels instead of the model's own")
    parser.add_argument("--top_words", type=int, default=3, help="words to name per text (default: 3)")
    parser.add_argument("--batch_size", type=int, default=64, help="texts per forward pass (default: 64)")
    parser.add_argument("--device", help="cpu, cuda ... (default: the accelerator if there is one)")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Classify and print, text by text."""
    options = make_parser().parse_args(argv)
    _check(options)
    name = options.model or mini_model()
    if isinstance(sys.stdout, io.TextIOWrapper):
        if options.json:
            sys.stdout.reconfigure(encoding="utf-8")
        else:
            # Where the terminal cannot show a character, its code is better than no answer.
            sys.stdout.reconfigure(errors="backslashreplace")
    with _lines(None if _is_table(options) else options.input) as lines:
        texts, are_few = _texts(options, lines)
        # More than a batch is worth the seconds that torch takes to start.
        classifier = quick_classifier(name) if are_few and options.device is None else None
        if classifier is None:
            answers = _torch_answers(name, texts, options)
        else:
            answers = (classifier([text], options.threshold, options.top_words)[0] for text in texts)
        try:
            _print_answers(answers, _print_json if options.json else _Printer())
        except BrokenPipeError:
            # The reader has seen enough; without this Python complains once more on exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check(options: argparse.Namespace) -> None:
    if options.texts and options.input:
        raise InputError("Give texts as arguments or a file with --input, not both.")
    if options.text_column and not _is_table(options):
        raise InputError("--text_column is for a table with --input: there is one text per line.")
    if options.threshold is not None and not 0.0 <= options.threshold <= 1.0:
        raise InputError(f"--threshold must be in [0, 1], got {options.threshold}.")
    check_integer("--batch_size", options.batch_size, 1)
    check_integer("--top_words", options.top_words, 0)


def _is_table(options: argparse.Namespace) -> bool:
    return options.input is not None and Path(options.input).suffix.lower() != ".txt"


def _lines(file: str | None) -> AbstractContextManager[BinaryIO]:
    return Path(file).open("rb") if file else nullcontext(sys.stdin.buffer)


def _texts(options: argparse.Namespace, lines: BinaryIO) -> tuple[Iterable[str], bool]:
    """The texts, and whether they are few: given as arguments, typed on a terminal, or no more than a batch."""
    if options.texts:
        return options.texts, True
    if _is_table(options):
        from trainer_ext.data.loading import iter_texts

        texts = iter_texts(options.input, options.text_column)
        beginning = list(islice(texts, options.batch_size + 1))
        return chain(beginning, texts), len(beginning) <= options.batch_size
    first = [] if lines.isatty() else list(islice(lines, options.batch_size + 1))
    return _decode(chain(first, lines), options.input or "standard input"), len(first) <= options.batch_size


def _decode(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for row, line in enumerate(lines, start=1):
        try:
            # Editors on Windows begin a file with a mark that is no part of its first line.
            yield line.decode("utf-8-sig" if row == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, row {row}: not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8."
            ) from error


def _torch_answers(name: str, texts: Iterable[str], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    import transformers

    from modeling_stacked_emotion import decision_thresholds, label_names
    from modeling_stacked_emotion.description_stacked_emotion import describe_emotions
    from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates
    from trainer_ext.evaluation.prediction import iter_predictions, load_classifier

    transformers.logging.disable_progress_bar()
    with reading(f"--model {name} cannot be loaded"):
        model, tokenizer = load_classifier(name, options.device)
    labels = label_names(model.config)
    thresholds = decision_thresholds(model.config) if options.threshold is None else options.threshold
    return (
        describe_emotions(
            prediction.text,
            labels,
            prediction.probabilities.tolist(),
            thresholds,
            prediction.words,
            prediction.word_attention,
            options.top_words,
            getattr(model.config, "scripts", None),
        )
        for prediction in iter_predictions(model, tokenizer, map(clean_surrogates, texts), options.batch_size)
    )


def _print_answers(answers: Iterable[dict[str, Any]], show: Callable[[dict[str, Any]], None]) -> None:
    try:
        for answer in _name_unfamiliar(answers):
            show(answer)
    finally:
        # Before the line of an error.
        sys.stdout.flush()


def _name_unfamiliar(answers: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The answers; those of texts in a script that the model was not trained on are named once, and counted."""
    num_texts = num_unfamiliar = 0
    for answer in answers:
        num_texts += 1
        if script := answer.get("unfamiliar_script"):
            num_unfamiliar += 1
            if num_unfamiliar == 1:
                line = (
                    f"A text is in a script that the model was not trained on ({script}): do not rely on its answer."
                )
                print(line, file=sys.stderr)
        yield answer
    if num_unfamiliar > 1:
        line = f"{num_unfamiliar:,} of {num_texts:,} texts are in scripts that the model was not trained on."
        print(line, file=sys.stderr)


def _print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, ensure_ascii=False))


class _Printer:
    """Text with the deciding words highlighted, then a bar per emotion; plain text where no terminal is."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console: Console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def __call__(self, answer: dict[str, Any]) -> None:
        from rich.text import Text

        # One for one, so that the spans stay right.
        text = Text(printable(answer["text"]))
        for rank, word in enumerate(answer["words"]):
            text.stylize("bold black on yellow" if rank == 0 else "bold yellow", word["start"], word["end"])
        self.console.print(text)
        if not answer["emotions"]:
            self.console.print("  no emotion over its threshold", style="dim")
        width = max((len(emotion["label"]) for emotion in answer["emotions"]), default=0)
        for emotion in answer["emotions"]:
            filled = round(emotion["score"] * _BAR_WIDTH)
            bar = "█" * filled + "░" * (_BAR_WIDTH - filled)
            self.console.print(
                Text.assemble(f"  {printable(emotion['label']):<{width}} ", (bar, "cyan"), f" {emotion['score']:.2f}")
            )
        if answer["words"]:
            words = ", ".join(f"{word['word']} {word['weight']:.2f}" for word in answer["words"])
            self.console.print(f"  words: {printable(words)}", style="dim")
        self.console.print()


if __name__ == "__main__":
    main()
