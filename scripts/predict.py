# SPDX-License-Identifier: Apache-2.0
"""
Emotions of texts, with the words that decided; or predictions as a table.

Usage:
    python -m scripts.predict "first text" "second text"
    python -m scripts.predict --model DIR --input texts.txt --json > emotions.jsonl
    python -m scripts.predict --model DIR --input posts.csv --text_column post
    python -m scripts.predict --model DIR --input posts.csv --output predictions.csv
    python -m scripts.predict --model DIR --input posts.csv --output scores.parquet --probabilities --labels joy,fear
    cat texts.txt | python -m scripts.predict --model DIR --json

Without --model it is the small English one that comes with this repository, and no network is needed. Standard input
and a .txt file hold one text per line; in a csv, tsv, jsonl, json or parquet file the texts are a column, which is
found as in training. Files of any length are read as they are classified, except json arrays, parquet and compressed
files, which are read as a whole.

--output writes the columns of the input as they are, and a column of 0 and 1 for every label in the order of the
model, or of --labels. Columns of the input that have the name of a label keep their place and hold its predictions:
a shared task's file with blank labels comes out as it is handed in. The file is there when it is complete, not before.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hub.model.mini import mini_model
from hub.model.quick import quick_classifier
from trainer_ext.errors import InputError, check_integer, printable, reading

from ._command import command, command_parser

if TYPE_CHECKING:
    from trainer_ext.data.prediction_tables import TextRows

_BAR_WIDTH = 20
_DIGITS = 6


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="texts; without any, lines of --input or stdin")
    parser.add_argument("--model", help="folder of a trained model, or Hub id (default: the one of this repository)")
    parser.add_argument("--input", metavar="FILE", help="txt (a text per line), csv, tsv, jsonl, json or parquet file")
    parser.add_argument("--text_column", help="column of the texts in that file (default: found by name)")
    parser.add_argument("--output", metavar="FILE", help="write a csv, tsv, jsonl or parquet table")
    parser.add_argument("--probabilities", action="store_true", help="scores instead of 0 and 1 in that table")
    parser.add_argument("--labels", metavar="LABEL,LABEL", help="these labels only (default: all of the model)")
    parser.add_argument("--json", action="store_true", help="JSON lines, UTF-8, instead of bars and colours")
    parser.add_argument("--threshold", type=float, help="one threshold for all labels instead of the model's own")
    parser.add_argument("--top_words", type=int, default=3, help="words to name per text (default: 3)")
    parser.add_argument("--batch_size", type=int, default=64, help="texts per forward pass (default: 64)")
    parser.add_argument("--device", help="cpu, cuda ... (default: the accelerator if there is one)")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Classify, and print text by text or write the table."""
    options = make_parser().parse_args(argv)
    _check(options)
    if options.output:
        _write_table(options)
    else:
        _print_answers(options)


def _check(options: argparse.Namespace) -> None:
    if options.texts and options.input:
        raise InputError("Give texts as arguments or a file with --input, not both.")
    if options.text_column and not _is_table(options):
        raise InputError("--text_column is for a table with --input: there is one text per line.")
    if options.threshold is not None and not 0.0 <= options.threshold <= 1.0:
        raise InputError(f"--threshold must be in [0, 1], got {options.threshold}.")
    check_integer("--batch_size", options.batch_size, 1)
    check_integer("--top_words", options.top_words, 0)
    _check_output(options)


def _check_output(options: argparse.Namespace) -> None:
    if not options.output:
        if options.probabilities:
            raise InputError("--probabilities is for a table: name it with --output.")
        return
    from trainer_ext.data.prediction_tables import check_output

    check_output(options.output)
    if options.json:
        raise InputError("--json prints, --output writes a file, such as predictions.jsonl: give one of them.")
    if options.probabilities and options.threshold is not None:
        raise InputError("--threshold decides between 0 and 1, --probabilities asks for neither: give one of them.")
    output = Path(options.output)
    if options.input and output.exists() and output.samefile(options.input):
        raise InputError(f"--output {options.output} is the file of --input; give another name.")


def _is_table(options: argparse.Namespace) -> bool:
    return options.input is not None and Path(options.input).suffix.lower() != ".txt"


def _lines(options: argparse.Namespace) -> AbstractContextManager[Iterable[bytes]]:
    """The lines that hold a text each; none where the texts are elsewhere."""
    if options.texts or _is_table(options):
        return nullcontext(())
    if options.input:
        return Path(options.input).open("rb")
    if sys.stdin is None:
        raise InputError("Standard input is closed; give texts as arguments, or a file with --input.")
    return nullcontext(sys.stdin.buffer)


def _few(texts: Iterable[str], options: argparse.Namespace) -> tuple[Iterable[str], bool]:
    """The texts, and whether they are few: given as arguments, typed on a terminal, or no more than a batch."""
    if options.texts or (not options.input and sys.stdin.isatty()):
        return texts, True
    texts = iter(texts)
    first = list(islice(texts, options.batch_size + 1))
    return chain(first, texts), len(first) <= options.batch_size


def _decode(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for row, line in enumerate(lines, start=1):
        try:
            # Editors on Windows begin a file with a mark that is no part of its first line.
            yield line.decode("utf-8-sig" if row == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, row {row}: not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8."
            ) from error


class _Classifier(NamedTuple):
    """A model; its answers, as of `describe_emotions`, have all labels."""

    labels: list[str]
    thresholds: list[float]
    answers: Callable[[Iterable[str]], Iterator[dict[str, Any]]]

    def limits(self, options: argparse.Namespace) -> dict[str, float]:
        """The labels that are asked for, in their order, and the threshold of each."""
        limits = dict(zip(self.labels, self.thresholds, strict=True))
        names = list(limits) if options.labels is None else _read_names(options.labels)
        for name in names:
            if name not in limits:
                raise InputError(f"--labels: the model has no label {name!r}, only {', '.join(self.labels)}.")
        return {name: limits[name] if options.threshold is None else options.threshold for name in names}


def _read_names(value: str) -> list[str]:
    # A name that has a comma itself is in quotes, as in a csv file.
    names = [name.strip() for name in next(csv.reader([value], skipinitialspace=True), [])]
    if not all(names) or not names or len({*names}) < len(names):
        raise InputError(f"--labels must be different names with commas between them, got {value!r}.")
    return names


def _load(options: argparse.Namespace, are_few: bool, report: Callable[[int], object] | None = None) -> _Classifier:
    """The model; `report` is told how many more texts are done."""
    name = options.model or mini_model()
    top_words = 0 if options.output else options.top_words
    # More than a batch is worth the seconds that torch takes to start.
    quick = quick_classifier(name) if are_few and options.device is None else None
    if quick is None:
        return _load_torch(name, options, top_words, report)
    labels = quick.labels
    thresholds = quick.thresholds if isinstance(quick.thresholds, list) else [quick.thresholds] * len(labels)
    return _Classifier(labels, thresholds, lambda texts: (quick([text], 0.0, top_words)[0] for text in texts))


def _load_torch(
    name: str, options: argparse.Namespace, top_words: int, report: Callable[[int], object] | None
) -> _Classifier:
    import transformers

    from modeling_stacked_emotion import decision_thresholds, label_names
    from modeling_stacked_emotion.description_stacked_emotion import describe_emotions
    from modeling_stacked_emotion.text_stacked_emotion import clean_surrogates
    from trainer_ext.evaluation.prediction import find_device, iter_predictions, load_classifier

    transformers.logging.disable_progress_bar()
    device = find_device(options.device)
    with reading(f"--model {name} cannot be loaded"):
        model, tokenizer = load_classifier(name, device)
    labels = label_names(model.config)

    def answers(texts: Iterable[str]) -> Iterator[dict[str, Any]]:
        texts = map(clean_surrogates, texts)
        for text, _, scores, words, shares in iter_predictions(model, tokenizer, texts, options.batch_size, report):
            yield describe_emotions(text, labels, scores.tolist(), 0.0, words, shares, top_words)

    return _Classifier(labels, decision_thresholds(model.config), answers)


# ------------------------------------------------------------------------------------------------------------- tables


def _write_table(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from trainer_ext.data.prediction_tables import write_predictions

    with _lines(options) as lines:
        rows = _rows(options, lines)
        texts, are_few = _few(rows.rows, options)
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        with tqdm(total=rows.num_rows, unit=" texts", disable=not is_terminal, leave=False) as bar:
            classifier = _load(options, are_few, bar.update)
            limits = classifier.limits(options)
            _name_replaced(options.input, [name for name in rows.columns if name in limits])
            start = time.perf_counter()
            num_texts = write_predictions(
                options.output,
                replace(rows, rows=texts),
                list(limits),
                lambda texts: (_values(answer, limits, options.probabilities) for answer in classifier.answers(texts)),
                float if options.probabilities else int,
            )
    rate = num_texts / (time.perf_counter() - start)
    print(f"{num_texts:,} texts, {rate:,.0f} texts/s: {printable(options.output)}", file=sys.stderr)


def _rows(options: argparse.Namespace, lines: Iterable[bytes]) -> TextRows:
    from trainer_ext.data.prediction_tables import rows_of_file, rows_of_texts

    if options.texts:
        return rows_of_texts(options.texts, len(options.texts))
    if _is_table(options):
        return rows_of_file(options.input, options.text_column)
    num_rows = None
    if options.input:
        with Path(options.input).open("rb") as file:
            num_rows = sum(1 for _ in file)
    return rows_of_texts(_decode(lines, options.input or "standard input"), num_rows)


def _name_replaced(source: str, columns: list[str]) -> None:
    if columns:
        from trainer_ext.data.tables import short_list

        print(f"{printable(source)}: predictions replace the columns {short_list(columns)}.", file=sys.stderr)


def _values(answer: dict[str, Any], limits: dict[str, float], is_scores: bool) -> list[float]:
    scores = {emotion["label"]: emotion["score"] for emotion in answer["emotions"]}
    if is_scores:
        return [round(scores[label], _DIGITS) for label in limits]
    return [int(scores[label] >= limit) for label, limit in limits.items()]


# ----------------------------------------------------------------------------------------------------------- printing


def _print_answers(options: argparse.Namespace) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        if options.json:
            sys.stdout.reconfigure(encoding="utf-8")
        else:
            # Where the terminal cannot show a character, its code is better than no answer.
            sys.stdout.reconfigure(errors="backslashreplace")
    with _lines(options) as lines:
        texts, are_few = _few(_texts(options, lines), options)
        classifier = _load(options, are_few)
        limits = classifier.limits(options)
        show = _print_json if options.json else _Printer()
        try:
            for answer in classifier.answers(texts):
                show(_decide(answer, limits))
        except BrokenPipeError:
            # The reader has seen enough.
            return


def _texts(options: argparse.Namespace, lines: Iterable[bytes]) -> Iterable[str]:
    if options.texts:
        return options.texts
    if _is_table(options):
        from trainer_ext.data.loading import iter_texts

        return iter_texts(options.input, options.text_column)
    return _decode(lines, options.input or "standard input")


def _decide(answer: dict[str, Any], limits: dict[str, float]) -> dict[str, Any]:
    """The answer with those labels that are asked for and reach their thresholds."""
    emotions = [
        emotion | {"threshold": limits[emotion["label"]]}
        for emotion in answer["emotions"]
        if emotion["label"] in limits and emotion["score"] >= limits[emotion["label"]]
    ]
    return answer | {"emotions": emotions}


def _print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, ensure_ascii=False))


class _Printer:
    """Text with the deciding words highlighted, then a bar per emotion; plain text where no terminal is."""

    def __init__(self) -> None:
        from rich.console import Console

        class _Console(Console):
            def on_broken_pipe(self) -> None:
                """Leave the error, of which rich makes an exit with 1, to the caller."""
                raise

        self.console = _Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

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
