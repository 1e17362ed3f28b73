# SPDX-License-Identifier: Apache-2.0
"""
Evaluate a saved model on a file.

Usage:
    python -m scripts.evaluate_model --model DIR --data FILE [--json OUT]
    python -m scripts.evaluate_model --model DIR --probes FILE [--json DIR/probe_results.json]
    accelerate launch -m scripts.evaluate_model --model DIR --data FILE

Thresholds and calibration are the model's own; nothing is tuned on the file. A file with columns for some of its
labels is evaluated on these, and a warning says which. Probes, such as scripts/data/checks/probes.csv, are texts with
one emotion each that is hard to find; the card of a model shows the results that lie beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from trainer_ext.errors import InputError, reading
from trainer_ext.files import replacing

from ._command import add_engine_options, check_engine_options, command, command_parser, is_terminal

if TYPE_CHECKING:
    import numpy as np

    from trainer_ext.evaluation.processes import Processes


_OF_DATA = ("text_column", "label_column", "label_separator", "blank_labels", "max_intensity")


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser("evaluate_model", __doc__)
    parser.add_argument("--model", required=True, help="folder of a trained model, or Hub id")
    files = parser.add_mutually_exclusive_group(required=True)
    files.add_argument("--data", metavar="FILE", help="csv, tsv, jsonl or parquet with labels")
    files.add_argument("--probes", metavar="FILE", help="texts with one emotion each, by kind and language")
    parser.add_argument("--json", metavar="OUT", help="write the results to this file")
    parser.add_argument("--text_column", help="column of the texts (default: found by name)")
    parser.add_argument("--label_column", help="column of the labels (default: found by name)")
    parser.add_argument("--label_separator", help="divides the labels of a cell (default: found)")
    parser.add_argument("--blank_labels", help="a blank in a label's column: unknown or negative (default: refused)")
    parser.add_argument("--max_intensity", type=float, help="greatest value of intensities (3) or shares (1)")
    parser.add_argument("--split", default="test", help="first word of the keys (default: test)")
    add_engine_options(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Predict, measure, print the table; returns the flat results, which only the main process has."""
    options = make_parser().parse_args(argv)
    check_engine_options(options)
    if options.probes and (given := [name for name in _OF_DATA if getattr(options, name) is not None]):
        raise InputError(f"--{given[0]} is for --data: leave it out.")

    from trainer_ext.evaluation.processes import launched_processes

    with launched_processes() as processes:
        if processes is not None and not processes.is_main:
            _predict(options, _load(options), (), processes)
            return {}
        return _report(options, processes)


def _report(options: argparse.Namespace, processes: Processes | None) -> dict[str, float]:
    from trainer_ext.evaluation.results import results_json

    # Opened before the work, which a name that cannot be written would make in vain.
    with replacing(options.json) if options.json else nullcontext() as partial:
        results, table = (_probe if options.probes else _evaluate)(options, processes)
        if partial is not None:
            partial.write_bytes(results_json(results).encode())
    print(f"\nResults on {options.probes or options.data} (thresholds of the model):\n\n{table}")
    return results


def _load(options: argparse.Namespace) -> tuple[Any, Any]:
    """The model and its tokenizer."""
    import transformers

    from trainer_ext.evaluation.prediction import find_device, load_classifier

    transformers.logging.disable_progress_bar()
    device = find_device(options.device)
    with reading(f"--model {options.model} cannot be loaded"):
        return load_classifier(options.model, device)


def _predict(
    options: argparse.Namespace, classifier: tuple[Any, Any], texts: Sequence[str], processes: Processes | None
) -> np.ndarray:
    """The probabilities of the texts, and the part of this process in those of the main one."""
    from tqdm import tqdm

    from trainer_ext.evaluation.prediction import predict_probabilities

    is_shown = is_terminal(sys.stderr) and bool(texts)
    with tqdm(total=len(texts), desc="Classifying", unit=" texts", disable=not is_shown) as bar:
        return predict_probabilities(
            *classifier,
            texts,
            precision=options.precision,
            tokens_per_batch=options.tokens_per_batch,
            report=bar.update,
            processes=processes,
        )


def _probe(options: argparse.Namespace, processes: Processes | None) -> tuple[dict[str, float], str]:
    """The results on probes, and their table."""
    import numpy as np

    from hub.model.probes import in_languages, probe_results, probes_table, read_probes
    from modeling_stacked_emotion import decision_thresholds, label_names

    classifier = _load(options)
    config = classifier[0].config
    probes = in_languages(read_probes(options.probes), getattr(config, "languages", None))
    probabilities = _predict(options, classifier, [probe.text for probe in probes], processes)
    thresholds = np.asarray(decision_thresholds(config))
    results = probe_results(probes, probabilities, label_names(config), thresholds)
    return results, probes_table(results)


def _evaluate(options: argparse.Namespace, processes: Processes | None) -> tuple[dict[str, float], str]:
    """The results on labelled texts, and their table."""
    import numpy as np

    from modeling_stacked_emotion import decision_thresholds, label_names
    from trainer_ext.data.loading import read_file
    from trainer_ext.evaluation.results import evaluate_split, results_table

    classifier = _load(options)
    config = classifier[0].config
    names = label_names(config)
    rows, _ = read_file(
        options.data,
        text_column=options.text_column,
        label_column=options.label_column,
        label_names=names,
        label_separator=options.label_separator,
        blank_labels=options.blank_labels,
        max_intensity=options.max_intensity,
        may_lack_labels=True,
    )
    probabilities = _predict(options, classifier, rows["text"][:], processes)
    thresholds = np.asarray(decision_thresholds(config))
    labels = np.asarray(rows["labels"], dtype=np.float32)
    results = evaluate_split(options.split, labels, probabilities, thresholds, names)
    return results, results_table(options.split, results, names)


if __name__ == "__main__":
    main()
