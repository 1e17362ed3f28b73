# SPDX-License-Identifier: Apache-2.0
"""The metric's Space: gold labels and predictions as lines of text, all metrics as tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# Read when gradio is imported: nothing is reported to anyone.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import evaluate
import gradio as gr

HERE = Path(__file__).resolve().parent
MAX_SAMPLES = 2_000
MAX_LABELS = 200
NUM_RESAMPLES = 1_000
LABEL_KEYS = ("support", "precision", "recall", "f1", "roc_auc")
HARD_EXAMPLE = ("joy, love\nanger\n\nsadness, fear\njoy", "joy\nanger, fear\n\nsadness, fear\nlove")
SCORE_EXAMPLE = (
    "joy, love\nanger\n\nsadness, fear\njoy",
    "joy: 0.9, love: 0.4\nanger: 0.8, fear: 0.6\njoy: 0.2\nsadness: 0.7, fear: 0.6\nlove: 0.6, joy: 0.45",
)

Table = dict[str, list[Any]]


def parse_lines(text: str) -> list[dict[str, float | None]]:
    """
    Read the labels of each line.

    Args:
        text (`str`): One line per sample, labels between commas, each with or without `: probability`.

    Returns:
        `list[dict[str, float | None]]`: Label to probability, or to `None` where there is none.

    Raises:
        `ValueError`: If a line names a label twice.
    """
    samples = []
    for number, line in enumerate(text.split("\n"), 1):
        sample: dict[str, float | None] = {}
        for cell in filter(None, map(str.strip, line.split(","))):
            label, score = _label_and_score(cell)
            if label in sample:
                raise ValueError(f"Line {number} names {label!r} twice.")
            sample[label] = score
        samples.append(sample)
    return samples


def _label_and_score(cell: str) -> tuple[str, float | None]:
    label, separator, score = cell.rpartition(":")
    try:
        return (label.strip(), float(score)) if separator else (cell, None)
    except ValueError:
        return cell, None


def evaluate_texts(
    references: str,
    predictions: str,
    labels: str = "",
    threshold: float = 0.5,
    zero_division: float = 0.0,
    with_intervals: bool = False,
) -> tuple[Table, Table]:
    """
    Compute all metrics of predictions given as text.

    Args:
        references (`str`): Gold labels, in the form of [`parse_lines`] without probabilities.
        predictions (`str`): Predicted labels, or all labels with their probabilities; a label that a line leaves out
            has the probability 0.
        labels (`str`, *optional*): Further labels, between commas, that neither text needs to mention.
        threshold (`float`, *optional*, defaults to 0.5): For probabilities.
        zero_division (`float`, *optional*, defaults to 0.0): As in the metric.
        with_intervals (`bool`, *optional*, defaults to `False`): Add 95 % bootstrap intervals.

    Returns:
        Two tables, of the summary metrics and of the labels, each with its `headers` and `data`.

    Raises:
        `ValueError`: If the texts do not fit each other, or are too long for a demonstration.
    """
    gold, predicted = parse_lines(references), parse_lines(predictions)
    _drop_final_line_break(gold, predicted)
    scores = [score for sample in predicted for score in sample.values()]
    has_scores = any(score is not None for score in scores)
    _check_samples(gold, predicted, has_scores)
    named = [label.strip() for label in labels.split(",") if label.strip()]
    names = list(dict.fromkeys([*named, *(label for sample in (*gold, *predicted) for label in sample)]))
    if not 1 <= len(names) <= MAX_LABELS:
        raise ValueError(f"Between 1 and {MAX_LABELS} labels are needed, got {len(names)}.")

    metric = evaluate.load(
        str(HERE / "multilabel_emotion.py"), "probabilities" if has_scores else "default", keep_in_memory=True
    )
    rows = [
        [1.0 if sample.get(name, 0.0) is None else sample.get(name, 0.0) for name in names] for sample in predicted
    ]
    results = metric.compute(
        references=[[float(name in sample) for name in names] for sample in gold],
        **{"prediction_scores" if has_scores else "predictions": rows},
        thresholds=threshold,
        label_names=names,
        zero_division=zero_division,
        per_label=True,
        num_resamples=NUM_RESAMPLES if with_intervals else 0,
    )
    return _summary_table(results, with_intervals), _label_table(results, names)


def _drop_final_line_break(gold: list[dict[str, float | None]], predicted: list[dict[str, float | None]]) -> None:
    """A text that was pasted often ends in a line break, which is no sample if the other text has none for it."""
    longest = max(len(gold), len(predicted))
    texts = [text for text in (gold, predicted) if len(text) == longest]
    if longest > 1 and not any(text[-1] for text in texts):
        for text in texts:
            text.pop()


def _check_samples(
    gold: list[dict[str, float | None]], predicted: list[dict[str, float | None]], has_scores: bool
) -> None:
    if any(score is not None for sample in gold for score in sample.values()):
        raise ValueError("Gold labels have no probabilities; remove the colons and the numbers behind them.")
    if has_scores and any(score is None for sample in predicted for score in sample.values()):
        raise ValueError("Either all predicted labels have a probability, as in `joy: 0.9`, or none.")
    if len(gold) != len(predicted):
        raise ValueError(
            f"Both texts need one line per sample, got {len(gold)} lines of gold labels and {len(predicted)} of "
            "predictions; a sample without labels is an empty line."
        )
    if len(gold) > MAX_SAMPLES:
        raise ValueError(f"The demonstration takes {MAX_SAMPLES:,} lines, got {len(gold):,}; load the metric instead.")


def _summary_table(results: dict[str, Any], with_intervals: bool) -> Table:
    keys = [key for key in results if "/" not in key and not key.endswith("_interval")]
    headers = ["metric", "value"] + ["low", "high"] * with_intervals
    ends = [results.get(f"{key}_interval", [None, None]) if with_intervals else [] for key in keys]
    data = [[key, *map(_rounded, [results[key], *end])] for key, end in zip(keys, ends, strict=True)]
    return {"headers": headers, "data": data}


def _label_table(results: dict[str, Any], names: list[str]) -> Table:
    keys = [key for key in LABEL_KEYS if any(f"{key}/{name}" in results for name in names)]
    ordered = sorted(names, key=lambda name: -results[f"support/{name}"])
    data = [[name, *(_rounded(results.get(f"{key}/{name}")) for key in keys)] for name in ordered]
    return {"headers": ["label", *keys], "data": data}


def _rounded(value: float | None) -> float | None:
    # No value and NaN, which JSON does not have, are both an empty cell.
    return None if value is None or value != value else round(value, 4)


def _answer(*arguments: Any) -> tuple[Table, Table]:
    try:
        return evaluate_texts(*arguments)
    except ValueError as error:
        raise gr.Error(str(error), print_exception=False) from error


def build_app() -> gr.Blocks:
    """The page: two texts and the options above, the two tables below, then the card."""
    with gr.Blocks(title="multilabel_emotion") as app:
        gr.Markdown(
            "# multilabel_emotion\nMetrics of multi-label predictions. One line per sample, labels between commas; a "
            "sample without labels is an empty line. Predictions may carry probabilities: `joy: 0.9, love: 0.4`."
        )
        with gr.Row():
            references = gr.Textbox(HARD_EXAMPLE[0], label="Gold labels", lines=8, max_lines=16, min_width=280)
            predictions = gr.Textbox(HARD_EXAMPLE[1], label="Predictions", lines=8, max_lines=16, min_width=280)
        with gr.Accordion("Options", open=False):
            labels = gr.Textbox("", label="Further labels", info="Labels that no line mentions, between commas.")
            threshold = gr.Slider(0, 1, 0.5, step=0.01, label="Threshold", info="Only used with probabilities.")
            zero_division = gr.Radio(
                [0.0, 1.0], value=0.0, label="Zero division", info="The value of a ratio whose denominator is 0."
            )
            with_intervals = gr.Checkbox(label=f"95 % intervals from {NUM_RESAMPLES:,} bootstrap resamples")
        button = gr.Button("Compute", variant="primary")
        with gr.Row():
            summary = gr.Dataframe(label="Metrics", interactive=False, min_width=280)
            per_label = gr.Dataframe(label="Labels", interactive=False, min_width=280)
        inputs = [references, predictions, labels, threshold, zero_division, with_intervals]
        button.click(_answer, inputs, [summary, per_label], api_name="compute")
        examples = gr.Examples(
            [list(HARD_EXAMPLE), list(SCORE_EXAMPLE)],
            [references, predictions],
            example_labels=["Predicted labels", "Probabilities"],
            api_visibility="private",
        )
        examples.load_input_event.then(_answer, inputs, [summary, per_label], api_visibility="private")
        with gr.Accordion("About the metric", open=False):
            gr.Markdown(evaluate.utils.parse_readme(HERE / "README.md"))
    return app


if __name__ == "__main__":
    build_app().launch()
