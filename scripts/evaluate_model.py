# SPDX-License-Identifier: Apache-2.0
"""
Evaluate a saved model on a file.

Usage:
    python -m scripts.evaluate_model --model DIR --data FILE [--json OUT]

Thresholds and calibration are the model's own; nothing is tuned on the file.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from trainer_ext.errors import check_integer, reading

from ._command import command, command_parser


def make_parser() -> argparse.ArgumentParser:
    """The parser; it imports nothing heavy."""
    parser = command_parser("evaluate_model", __doc__)
    parser.add_argument("--model", required=True, help="folder of a trained model, or Hub id")
    parser.add_argument("--data", required=True, metavar="FILE", help="csv, tsv, jsonl or parquet with labels")
    parser.add_argument("--json", metavar="OUT", help="write the results to this file")
    parser.add_argument("--text_column", help="column of the texts (default: found by name)")
    parser.add_argument("--label_column", help="column of the labels (default: found by name)")
    parser.add_argument("--label_separator", help="divides the labels of a cell (default: found)")
    parser.add_argument("--split", default="test", help="first word of the keys (default: test)")
    parser.add_argument("--batch_size", type=int, default=64, help="texts per forward pass (default: 64)")
    parser.add_argument("--device", help="cpu, cuda ... (default: the accelerator if there is one)")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Predict, measure, print the table; returns the flat results."""
    options = make_parser().parse_args(argv)

    import numpy as np
    import transformers
    from tqdm import tqdm

    from modeling_stacked_emotion import decision_thresholds, label_names
    from trainer_ext.data.loading import read_file
    from trainer_ext.evaluation.prediction import load_classifier, predict_probabilities
    from trainer_ext.evaluation.results import evaluate_split, results_json, results_table
    from trainer_ext.files import write_file

    transformers.logging.disable_progress_bar()
    check_integer("--batch_size", options.batch_size, 1)
    with reading(f"--model {options.model} cannot be loaded"):
        model, tokenizer = load_classifier(options.model, options.device)
    names = label_names(model.config)
    rows, _ = read_file(
        options.data,
        text_column=options.text_column,
        label_column=options.label_column,
        label_names=names,
        label_separator=options.label_separator,
    )
    texts = tqdm(rows["text"], desc="Classifying", unit=" texts")
    probabilities = predict_probabilities(model, tokenizer, texts, options.batch_size)
    thresholds = np.asarray(decision_thresholds(model.config))
    labels = np.asarray(rows["labels"], dtype=np.float32)
    results = evaluate_split(options.split, labels, probabilities, thresholds, names)
    print(f"\nResults on {options.data} (thresholds of the model):\n")
    print(results_table(options.split, results, names))
    if options.json:
        write_file(options.json, results_json(results))
    return results


if __name__ == "__main__":
    main()
