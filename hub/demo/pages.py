# SPDX-License-Identifier: Apache-2.0
"""The HTML of the demo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from trainer_ext.evaluation.label_order import cluster_order

from .analysis import Analysis, Emotion, EmotionModel
from .text_files import TextFile

_NUM_SHOWN = 8
_NUM_PAIRS = 6
# Of more labels, the heat map has those with the strongest correlations: a page of 300 would have 10 megabytes.
_MAX_LABELS_OF_HEAT_MAP = 50
_MAX_LABELS_OF_SUMMARY = 30


def message_html(message: str) -> str:
    """An error in place of a result; screen readers say it at once."""
    return f'<p class="se-message" role="alert">{escape(message)}</p>'


def analysis_html(analysis: Analysis, encoders: Sequence[str]) -> str:
    """Everything about one text: emotions, the words that decided, attention, the weight of each encoder per word."""
    return _emotions_html(analysis, encoders) + _words_html(analysis) + _encoder_weights_html(analysis, encoders)


def _emotions_html(analysis: Analysis, encoders: Sequence[str]) -> str:
    predicted = analysis.predicted
    others = sorted((emotion for emotion in analysis.emotions if not emotion.is_predicted), key=lambda e: -e.score)
    names = ", ".join(f"<b>{escape(emotion.label)}</b>" for emotion in predicted)
    num_others = max(_NUM_SHOWN - len(predicted), 0)
    rest = others[num_others:]
    more = f'<details><summary>{len(rest)} more labels</summary><ul class="se-bars">{_bars(rest)}</ul></details>'
    shown, click = [*predicted, *others[:num_others]], ""
    bars = _bars(shown)
    if analysis.explanation is not None and analysis.explanation.pieces:
        bars = _explained_bars(shown, analysis, encoders)
        click = " A click on a label shows the words that decided."
    note = ""
    if analysis.unfamiliar_script:
        script = escape(analysis.unfamiliar_script)
        note = f"This model was not trained on the script of this text ({script}): do not rely on its answer."
        note = f'<p class="se-note">{note}</p>'
    return (
        f'<section><p class="se-verdict" role="status">{names or "No emotion reaches its threshold."}</p>{note}'
        f'<ul class="se-bars">{bars}</ul>{more if rest else ""}'
        '<p class="se-note"><span class="se-key"></span> The line in a bar is the label’s threshold: '
        f"a label whose probability reaches it is predicted.{click}</p></section>"
    )


def _bars(emotions: Iterable[Emotion]) -> str:
    return "".join(f'<li class="{_bar_class(emotion)}">{_bar(emotion)}</li>' for emotion in emotions)


def _bar_class(emotion: Emotion) -> str:
    return "se-bar se-over" if emotion.is_predicted else "se-bar"


def _bar(emotion: Emotion) -> str:
    return (
        f'<span dir="auto">{escape(emotion.label)}</span>'
        f'<span class="se-track" title="probability {emotion.score:.3f}, threshold {emotion.threshold:.3f}">'
        f'<span class="se-fill" style="width:{emotion.score:.2%}"></span>'
        f'<span class="se-limit" style="left:{emotion.threshold:.2%}"></span></span>'
        f"<span>{percent(emotion.score)}"
        f'<span class="se-hidden">, threshold {percent(emotion.threshold)}'
        f"{', predicted' if emotion.is_predicted else ''}</span></span>"
    )


def _explained_bars(emotions: Iterable[Emotion], analysis: Analysis, encoders: Sequence[str]) -> str:
    """Bars that open on a click and say why; one at a time, the first from the start."""
    return "".join(
        f'<li><details name="se-why"{"" if rank else " open"}>'
        f'<summary class="{_bar_class(emotion)}">{_bar(emotion)}</summary>'
        f"{_why_html(analysis, emotion, encoders)}</details></li>"
        for rank, emotion in enumerate(emotions)
    )


def _why_html(analysis: Analysis, emotion: Emotion, encoders: Sequence[str]) -> str:
    """The text with the words for and against an emotion, and the parts of its logit."""
    assert analysis.explanation is not None
    label, (pieces, falls) = analysis.emotions.index(emotion), analysis.explanation
    own = falls[:, label]
    highest = float(np.abs(own).max(initial=0.0)) or 1.0
    marks = [
        (start, end, fall / highest, f"{fall:+.2f}") for (start, end), fall in zip(pieces, own.tolist(), strict=True)
    ]
    parts = ""
    if analysis.logit_parts is not None:
        names = [*(f"<bdi>{escape(name)}</bdi>" for name in encoders), "rest of the model", "bias"]
        values = zip(names, analysis.logit_parts[:, label].tolist(), strict=True)
        parts = f" Its logit is the sum of {', '.join(f'{name} {value:+.2f}' for name, value in values)}."
    return (
        f'<p class="se-why" dir="auto">{_marked(analysis.text, marks)}</p>'
        f'<p class="se-note">For <b dir="auto">{escape(emotion.label)}</b>, and in the other colour against it: the '
        f"stronger the colour, the more its logit changes without the word.{parts}</p>"
    )


def _marked(text: str, marks: Iterable[tuple[int, int, float, str]]) -> str:
    """The text with marks: start, end, strength of the colour (the other one below 0), and a title."""
    pieces, end = [], 0
    for start, stop, share, title in marks:
        kind = ' class="se-against"' if share < 0 else ""
        pieces.append(escape(text[end:start]))
        pieces.append(
            f'<mark{kind} style="--share:{abs(share):.3f}" title="{title}">{escape(text[start:stop])}</mark>'
        )
        end = stop
    return "".join([*pieces, escape(text[end:])])


def percent(share: float) -> str:
    """A share in [0, 1] as a whole percentage; more than nothing does not become 0%."""
    return "&lt;1%" if 0.0 < share < 0.01 else f"{share:.0%}"


def _words_html(analysis: Analysis) -> str:
    if not analysis.words:
        return ""
    highest = max(word.attention for word in analysis.words) or 1.0
    # As from a model that takes the mean of the words: colour everywhere would say that all of them were picked.
    is_even = len(analysis.words) > 1 and highest - min(word.attention for word in analysis.words) < 1e-6
    note = "The stronger the colour, the more attention the word got: where the model looked, which is not why."
    if is_even:
        note = "Every word got the same attention."
    if analysis.is_truncated:
        note += " The end of the text is too long for this model and was not read."
    marks = [
        (
            word.start,
            word.end,
            0.0 if is_even else word.attention / highest,
            f"{percent(word.attention)} of the attention",
        )
        for word in analysis.words
    ]
    return (
        f'<section><h2>Attention</h2><p class="se-text" dir="auto">{_marked(analysis.text, marks)}</p>'
        f'<p class="se-note">{note}</p></section>'
    )


def _encoder_weights_html(analysis: Analysis, encoders: Sequence[str]) -> str:
    if not any(word.encoder_weights for word in analysis.words):
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in encoders)
    rows = "".join(
        f'<tr><th scope="row" dir="auto">{escape(analysis.text[word.start : word.end])}</th>'
        + "".join(f'<td style="--share:{weight:.3f}">{percent(weight)}</td>' for weight in word.encoder_weights)
        + "</tr>"
        for word in analysis.words
    )
    return (
        '<section><h2 id="se-encoders">Encoders per word</h2>'
        '<div class="se-scroll se-low" tabindex="0" role="region" aria-labelledby="se-encoders">'
        f'<table class="se-weights"><thead><tr><th scope="col">word</th>{head}</tr></thead><tbody>{rows}</tbody>'
        '</table></div><p class="se-note">How much each encoder counts for each word.</p></section>'
    )


def summary_html(file: TextFile, analyses: Sequence[Analysis | None], labels: Sequence[str]) -> str:
    """How many texts were read and how many of them have each emotion."""
    classified = [analysis for analysis in analyses if analysis is not None]
    counts = dict.fromkeys(labels, 0)
    for analysis in classified:
        for emotion in analysis.predicted:
            counts[emotion.label] += 1
    num_with = sum(bool(analysis.predicted) for analysis in classified)
    num_blank = len(analyses) - len(classified)
    column = "" if file.column is None else f" in column “<bdi>{escape(file.column)}</bdi>”"
    blank = f", {num_blank:,} blank" if num_blank else ""
    bars = [
        f'<li class="se-bar se-over"><span dir="auto">{escape(label)}</span><span class="se-track">'
        f'<span class="se-fill" style="width:{count / len(classified):.2%}"></span></span><span>{count:,}</span></li>'
        for label, count in sorted(counts.items(), key=lambda item: -item[1])
        if count
    ]
    shown, rest = bars[:_MAX_LABELS_OF_SUMMARY], bars[_MAX_LABELS_OF_SUMMARY:]
    more = f'<details><summary>{len(rest)} more labels</summary><ul class="se-bars">{"".join(rest)}</ul></details>'
    return (
        f'<section><p class="se-verdict" role="status"><b>{len(analyses):,} texts</b>{column}{blank}</p>'
        f'<p class="se-note">{num_with:,} of {len(classified):,} have at least one emotion that reaches its '
        "threshold.</p>"
        f'<ul class="se-bars">{"".join(shown)}</ul>{more if rest else ""}</section>'
    )


def correlation_html(labels: Sequence[str], correlation: Sequence[Sequence[float]]) -> str:
    """
    The heat map of label correlations, labels that come together beside each other, and the strongest pairs in words.

    Args:
        labels (`Sequence[str]` of length `num_labels`): At least two.
        correlation (`Sequence[Sequence[float]]` of shape `(num_labels, num_labels)`): In [-1, 1].
    """
    matrix = np.asarray(correlation, dtype=np.float64)
    strength = (np.abs(matrix) - np.eye(len(matrix))).max(axis=1)
    strongest_labels = np.sort(np.argsort(-strength, kind="stable")[:_MAX_LABELS_OF_HEAT_MAP])
    chosen = f" Here: the {_MAX_LABELS_OF_HEAT_MAP} with the strongest." if len(labels) > len(strongest_labels) else ""
    labels, matrix = [labels[index] for index in strongest_labels], matrix[np.ix_(strongest_labels, strongest_labels)]
    order, mean = cluster_order(matrix), (matrix + matrix.T) / 2.0
    names = [escape(labels[index]) for index in order]
    matrix, mean = matrix[np.ix_(order, order)], mean[np.ix_(order, order)]
    # The diagonal is 1 in any case, and would leave no colour for the pairs.
    scale = float(np.abs(matrix[~np.eye(len(matrix), dtype=np.bool_)]).max()) or 1.0
    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    rows = ""
    for name, values in zip(names, matrix.tolist(), strict=True):
        cells = (_correlation_cell(name, other, value, scale) for other, value in zip(names, values, strict=True))
        rows += f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>'
    upper = zip(*np.triu_indices(len(names), k=1), strict=True)
    strongest = sorted(upper, key=lambda pair: -abs(mean[pair]))[:_NUM_PAIRS]
    pairs = "".join(f"<li>{names[row]} + {names[column]}: {mean[row, column]:+.2f}</li>" for row, column in strongest)
    return (
        f"<section><p>Which labels come together in the training texts, and which avoid each other.{chosen}</p>"
        f'<p class="se-legend"><span>{-scale:+.2f}</span><span class="se-scale"></span><span>{scale:+.2f}</span></p>'
        '<div class="se-scroll" tabindex="0" role="region" aria-label="Heat map of the label correlations">'
        f'<table class="se-heat"><thead><tr><td></td>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>'
        f'<section><h2>Strongest pairs</h2><ul class="se-pairs">{pairs}</ul></section>'
    )


def _correlation_cell(name: str, other: str, value: float, scale: float) -> str:
    if name == other:
        return '<td class="se-self"></td>'
    kind = "se-apart" if value < 0.0 else "se-together"
    return (
        f'<td class="{kind}" style="--share:{abs(value) / scale:.3f}" title="{name} and {other}: {value:+.2f}"></td>'
    )


def header_html(model: EmotionModel) -> str:
    """The title, the model's name and a line on privacy."""
    if Path(model.source).exists():
        source = f"<code>{escape(Path(model.source).resolve().name)}</code>"
    else:
        source = f'<a href="https://huggingface.co/{escape(model.source)}">{escape(model.source)}</a>'
    return (
        '<header class="se-header"><h1>Emotions in text</h1>'
        f"<p>{len(model.labels)} labels, several at once. Model: {source}. "
        "Texts are not kept, files are deleted within two hours.</p></header>"
    )


def correlation_page(model: EmotionModel) -> str:
    """[`correlation_html`] of a model, or a line that it has no correlations."""
    correlation = getattr(model.config, "label_correlation", None)
    if correlation is None or len(model.labels) < 2:
        return '<p class="se-empty">This model does not say how its labels came together in its training texts.</p>'
    return correlation_html(model.labels, correlation)
