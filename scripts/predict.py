# SPDX-License-Identifier: Apache-2.0
"""
Emotions of texts, for each with the words that speak for it; or predictions as a table.

Usage:
    python -m scripts.predict "first text" "second text"
    python -m scripts.predict --explain "a lovely day, but I am tired"
    python -m scripts.predict --model DIR --input texts.txt --json > emotions.jsonl
    python -m scripts.predict --model DIR --input posts.csv --text_column post
    python -m scripts.predict --model DIR --input posts.csv --output predictions.csv
    python -m scripts.predict --model DIR --input posts.csv --output scores.parquet --probabilities --labels joy,fear
    cat texts.txt | python -m scripts.predict --model DIR --json
    accelerate launch -m scripts.predict --model DIR --input posts.csv --output predictions.csv

Without --model it is the small English one that comes with this repository, and no network is needed. Standard input
and a .txt file hold one text per line; in a csv, tsv, jsonl, json or parquet file the texts are a column, which is
found as in training. Files of any length are read as they are classified, except json arrays, parquet and compressed
files, which are read as a whole. Several processes of `accelerate launch` share the texts; one reads and writes.

The words of an emotion are those whose states add most to its logit. --explain finds them more surely, by asking the
model about the text without each of them, and says how much of the logit comes from which encoder.

--output writes the columns of the input as they are, and a column of 0 and 1 for every label in the order of the
model, or of --labels. Columns of the input that have the name of a label keep their place and hold its predictions:
a shared task's file with blank labels comes out as it is handed in. The file is there when it is complete, not before.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hub.model.answers import Classifier, load_answers
from hub.model.mini import mini_model
from trainer_ext.errors import InputError, check_integer, printable

from ._command import add_engine_options, check_engine_options, command, command_parser, is_terminal

if TYPE_CHECKING:
    from tqdm import tqdm

    from trainer_ext.data.prediction_tables import TextRows
    from trainer_ext.evaluation.processes import Processes

_BAR_WIDTH = 20
_DIGITS = 6
# So many texts at most are answered before torch has started.
_FEW = 64

_Item = TypeVar("_Item")


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
    parser.add_argument("--source", help="name of a data set that the model was trained on, for its own thresholds")
    parser.add_argument("--top_words", type=int, default=3, help="words to name per emotion (default: 3)")
    parser.add_argument(
        "--explain", action="store_true", help="leave words out to find those that decided; name encoders"
    )
    add_engine_options(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Classify, and print text by text or write the table."""
    options = make_parser().parse_args(argv)
    _check(options)
    with _processes() as processes:
        if processes is None or processes.is_main:
            _answer(options, processes)
        else:
            classifier, _ = _load(options, processes, top_words=options.top_words)
            for _ in (classifier.scores if options.output else classifier.answers)(()):
                pass


def _processes() -> AbstractContextManager[Processes | None]:
    # Without importing torch where there is one process.
    if "WORLD_SIZE" not in os.environ:
        return nullcontext()

    from trainer_ext.evaluation.processes import launched_processes

    return launched_processes()


def _answer(options: argparse.Namespace, processes: Processes | None) -> None:
    if options.output:
        _write_table(options, processes)
    else:
        _print_answers(options, processes)


def _check(options: argparse.Namespace) -> None:
    if options.texts and options.input:
        raise InputError("Give texts as arguments or a file with --input, not both.")
    if options.text_column and not _is_table(options):
        raise InputError("--text_column is for a table with --input: there is one text per line.")
    if options.threshold is not None and not 0.0 <= options.threshold <= 1.0:
        raise InputError(f"--threshold must be in [0, 1], got {options.threshold}.")
    if options.threshold is not None and options.source is not None:
        raise InputError("--threshold and --source both name thresholds: give one of them.")
    check_engine_options(options)
    check_integer("--top_words", options.top_words, 0)
    _check_output(options)


def _check_output(options: argparse.Namespace) -> None:
    if not options.output:
        if options.probabilities:
            raise InputError("--probabilities is for a table: name it with --output.")
        return
    from trainer_ext.data.prediction_tables import check_output

    check_output(options.output)
    if options.explain:
        raise InputError("--explain has no place in a table: leave --output out, and take --json for a file.")
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


def _few(texts: Iterable[_Item], options: argparse.Namespace) -> tuple[Iterable[_Item], bool]:
    """The texts or rows, and whether they are few: arguments, typed on a terminal, or no more than `_FEW`."""
    if options.texts or (not options.input and sys.stdin.isatty()):
        return texts, True
    texts = iter(texts)
    first = list(islice(texts, _FEW + 1))
    return chain(first, texts), len(first) <= _FEW


def _decode(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for row, line in enumerate(lines, start=1):
        try:
            # Editors on Windows begin a file with a mark that is no part of its first line.
            yield line.decode("utf-8-sig" if row == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, row {row}: not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8."
            ) from error


def _load(
    options: argparse.Namespace, processes: Processes | None, *, are_few: bool = False, **settings: Any
) -> tuple[Classifier, dict[str, float]]:
    """The model, and the threshold of every label that is asked for, in their order."""
    model = options.model or mini_model()
    settings |= {name: getattr(options, name) for name in ("precision", "tokens_per_batch", "source", "explain")}
    are_few = are_few and processes is None
    classifier = load_answers(model, options.device, are_few=are_few, processes=processes, **settings)
    thresholds = dict(zip(classifier.labels, classifier.thresholds, strict=True))
    names = classifier.labels if options.labels is None else _read_names(options.labels)
    for name in names:
        if name not in thresholds:
            raise InputError(f"--labels: the model has no label {name!r}, only {', '.join(classifier.labels)}.")
    return classifier, {name: thresholds[name] if options.threshold is None else options.threshold for name in names}


def _read_names(value: str) -> list[str]:
    # A name that has a comma itself is in quotes, as in a csv file.
    names = [name.strip() for name in next(csv.reader([value], skipinitialspace=True), [])]
    if not all(names) or not names or len({*names}) < len(names):
        raise InputError(f"--labels must be different names with commas between them, got {value!r}.")
    return names


# ------------------------------------------------------------------------------------------------------------- tables


def _write_table(options: argparse.Namespace, processes: Processes | None) -> None:
    from trainer_ext.data.prediction_tables import write_predictions

    with _lines(options) as lines:
        rows = _rows(options, lines)
        texts, are_few = _few(rows.rows, options)
        is_shown = is_terminal(sys.stderr)
        settings: dict[str, Any] = {"top_words": 0, "report": lambda number: bar and bar.update(number)}
        classifier, limits = _load(options, processes, are_few=are_few, **settings)
        _name_replaced(options.input, [name for name in rows.columns if name in limits and name != rows.text_column])
        start = time.perf_counter()
        with _progress(rows.num_rows) if is_shown else nullcontext() as bar:
            num_texts = write_predictions(
                options.output,
                replace(rows, rows=texts),
                list(limits),
                partial(_columns, classifier, limits, options.probabilities),
                float if options.probabilities else int,
            )
    rate = num_texts / (time.perf_counter() - start)
    noun = "text" if num_texts == 1 else "texts"
    print(f"{num_texts:,} {noun}, {rate:,.0f} texts/s: {printable(options.output)}", file=sys.stderr)


def _rows(options: argparse.Namespace, lines: Iterable[bytes]) -> TextRows:
    from trainer_ext.data.prediction_tables import rows_of_file, rows_of_texts

    if options.texts:
        return rows_of_texts(options.texts, len(options.texts))
    if _is_table(options):
        return rows_of_file(options.input, options.text_column)
    num_rows = _count(options.input) if options.input else None
    return rows_of_texts(_decode(lines, options.input or "standard input"), num_rows)


def _count(path: str) -> int | None:
    """How many texts a file has, where that is quickly found."""
    if Path(path).suffix.lower() == ".txt":
        with Path(path).open("rb") as file:
            return sum(1 for _ in file)
    if Path(path).suffix.lower() == ".parquet":
        from pyarrow.parquet import read_metadata

        return read_metadata(path).num_rows
    return None


def _progress(total: int | None) -> tqdm:
    from tqdm import tqdm

    return tqdm(total=total, unit=" texts", leave=False)


def _name_replaced(source: str, columns: list[str]) -> None:
    if columns:
        from trainer_ext.data.tables import short_list

        print(f"{printable(source)}: predictions replace the columns {short_list(columns)}.", file=sys.stderr)


def _columns(
    classifier: Classifier, limits: dict[str, float], are_probabilities: bool, texts: Iterable[str]
) -> Iterator[list[float]]:
    """For each text the values of the labels that are asked for."""
    places = [classifier.labels.index(label) for label in limits]
    pairs = [*zip(places, limits.values(), strict=True)]
    for scores in _name_unfamiliar(classifier.scores(texts)):
        if are_probabilities:
            yield [round(scores[place], _DIGITS) for place in places]
        else:
            yield [int(scores[place] >= limit) for place, limit in pairs]


# ----------------------------------------------------------------------------------------------------------- printing


def _print_answers(options: argparse.Namespace, processes: Processes | None) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        if options.json:
            sys.stdout.reconfigure(encoding="utf-8")
        else:
            # Where the terminal cannot show a character, its code is better than no answer.
            sys.stdout.reconfigure(errors="backslashreplace")
    with _lines(options) as lines:
        texts, are_few = _texts(options, lines)
        # Answers on the terminal are progress enough.
        is_shown = bool(options.input) and not are_few and is_terminal(sys.stderr) and not is_terminal(sys.stdout)
        settings = {
            "are_few": are_few,
            "top_words": options.top_words,
            "report": lambda number: bar and bar.update(number),
        }
        classifier, limits = _load(options, processes, **settings)
        show = _print_json if options.json else _Printer()
        with _progress(_count(options.input)) if is_shown else nullcontext() as bar:
            try:
                answers = ((answer, answer.get("unfamiliar_script")) for answer in classifier.answers(texts))
                for answer in _name_unfamiliar(answers):
                    show(_decide(answer, limits))
            except BrokenPipeError:
                # The reader has seen enough.
                return


def _texts(options: argparse.Namespace, lines: Iterable[bytes]) -> tuple[Iterable[str], bool]:
    """The texts, and whether they are few; of lines those before an unreadable one are answered."""
    if options.texts:
        return _few(options.texts, options)
    if _is_table(options):
        from trainer_ext.data.loading import iter_texts

        return _few(iter_texts(options.input, options.text_column), options)
    some, are_few = _few(lines, options)
    return _decode(some, options.input or "standard input"), are_few


def _decide(answer: dict[str, Any], limits: dict[str, float]) -> dict[str, Any]:
    """The answer with those labels that are asked for and reach their thresholds."""
    emotions = [
        emotion | {"threshold": limits[emotion["label"]]}
        for emotion in answer["emotions"]
        if emotion["label"] in limits and emotion["score"] >= limits[emotion["label"]]
    ]
    return answer | {"emotions": emotions}


def _name_unfamiliar(items: Iterable[tuple[_Item, str | None]]) -> Iterator[_Item]:
    """What comes with scripts that the model was not trained on, or none; the first is named, and they are counted."""
    num_texts = num_unfamiliar = 0
    for item, script in items:
        num_texts += 1
        if script is not None:
            num_unfamiliar += 1
            if num_unfamiliar == 1:
                line = (
                    f"A text is in a script that the model was not trained on ({script}): do not rely on its answer."
                )
                print(line, file=sys.stderr)
        yield item
    if num_unfamiliar > 1:
        line = f"{num_unfamiliar:,} of {num_texts:,} texts are in scripts that the model was not trained on."
        print(line, file=sys.stderr)


def _print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, ensure_ascii=False))


class _Printer:
    """Text with the words for its first emotion highlighted, then the emotions; plain text where no terminal is."""

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
        emotions = answer["emotions"]
        for rank, word in enumerate(emotions[0]["words"] if emotions else ()):
            text.stylize("bold black on yellow" if rank == 0 else "bold yellow", word["start"], word["end"])
        self.console.print(text)
        if not emotions:
            self.console.print("  no emotion over its threshold", style="dim")
        width = max((len(emotion["label"]) for emotion in emotions), default=0)
        for emotion in emotions:
            filled = round(emotion["score"] * _BAR_WIDTH)
            bar = "█" * filled + "░" * (_BAR_WIDTH - filled)
            self.console.print(
                Text.assemble(f"  {printable(emotion['label']):<{width}} ", (bar, "cyan"), f" {emotion['score']:.2f}")
            )
            for name, values in _reasons(emotion).items():
                self.console.print(f"  {'':<{width}} {name}: {values}", style="dim")
        self.console.print()


def _reasons(emotion: dict[str, Any]) -> dict[str, str]:
    """The words and encoders that decided, where they are known, as lines of the terminal."""
    reasons = {}
    if words := emotion["words"]:
        value = "fall" if "fall" in words[0] else "part"
        reasons["words"] = ", ".join(f"{printable(word['word'])} {word[value]:.2f}" for word in words)
    if parts := emotion.get("parts"):
        named = sorted(parts["encoders"].items(), key=lambda part: -part[1])
        named += [(name, parts[name]) for name in ("rest", "bias")]
        reasons["encoders"] = ", ".join(f"{printable(name)} {part:+.2f}" for name, part in named)
    return reasons


if __name__ == "__main__":
    main()
