# SPDX-License-Identifier: Apache-2.0
"""
Emotions of texts, typed or in a file: a Gradio app for any model of the stacked-emotion family.

The file stands alone: with `style.css` and `demo.json` beside it, it is a Space. The model is named by the environment
variables `MODEL_ID` and `MODEL_REVISION` or by `demo.json`, and may be a folder:

    MODEL_ID=path/to/model python app.py
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

# Read when gradio is imported: nothing is reported to anyone.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import numpy as np
import torch
from gradio.utils import get_upload_folder
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from transformers import AutoModelForSequenceClassification, AutoTokenizer

HERE = Path(__file__).resolve().parent
MAX_CHARACTERS = 5_000
MAX_ROWS = 1_000
MAX_FILE_SIZE = "5mb"
BATCH_SIZE = 32
# Once an hour, what is older than an hour; the page says so.
DELETE_CACHE = (3600, 3600)
EXAMPLES = (
    "You stayed on the phone with me until the ambulance came. Thank you, thank you, thank you.",
    "Nobody told me the meeting was moved, again, and now I look like a fool in front of the whole board.",
    "Tomorrow I finally get to see the ocean for the first time, I can't sleep!! 🌊",
    "الحمد لله نجحت أختي في الامتحان وفرحتنا ما لها حدود 😍",
    "والله تعبت من الكذب، كل يوم وعد جديد وما في شي بيتغير",
    "خايف كتير من العملية بكرا، ادعولي",
)
# What a spreadsheet takes for the beginning of a formula, in both widths.
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUM_SHOWN = 8
_NUM_PAIRS = 6


class InputError(ValueError):
    """What the user gave cannot be used; the message says why and how to mend it."""


class Emotion(NamedTuple):
    """One label of one text: its probability, and the threshold at or above which it is predicted."""

    label: str
    score: float
    threshold: float

    @property
    def is_predicted(self) -> bool:
        """Whether the probability reaches the threshold."""
        return self.score >= self.threshold


class Word(NamedTuple):
    """A word: character offsets, its share in the decision and, if there are several, the share of each encoder."""

    start: int
    end: int
    attention: float
    encoder_weights: list[float]


class Analysis(NamedTuple):
    """
    What the model says of one text.

    Attributes:
        text (`str`): The text.
        emotions (`list[Emotion]` of length `num_labels`): In the order of the labels.
        words (`list[Word]`): In the order of the text; empty for models that do not tell.
        is_truncated (`bool`): Whether the end was too long for the model to be read.
    """

    text: str
    emotions: list[Emotion]
    words: list[Word]
    is_truncated: bool

    @property
    def predicted(self) -> list[Emotion]:
        """The emotions at or above their thresholds, best first."""
        return sorted((emotion for emotion in self.emotions if emotion.is_predicted), key=lambda e: -e.score)


class EmotionModel:
    """
    A multi-label classifier with its tokenizer, loaded with the code that is stored with it.

    Args:
        source (`str`): Folder or Hub id. Its code is run.
        revision (`str`, *optional*): Commit, tag or branch of weights, code and tokenizer on the Hub.
        trust_remote_code (`bool`, *optional*, defaults to `True`): Whether its code is run; classes that transformers
            knows are used otherwise.

    Raises:
        `OSError`: If there is no such model.
        `ValueError`: If it is not a multi-label classifier.
    """

    def __init__(self, source: str, revision: str | None = None, trust_remote_code: bool = True) -> None:
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision or "main"}
        self.source = source
        self.model = AutoModelForSequenceClassification.from_pretrained(source, **options).eval()
        self.config = self.model.config
        if self.config.problem_type != "multi_label_classification":
            raise ValueError(
                f"{source} is no multi-label classifier: its `problem_type` must be 'multi_label_classification', "
                f"got {self.config.problem_type!r}."
            )
        self.tokenizer = AutoTokenizer.from_pretrained(source, **options)
        self.labels = [self.config.id2label[index] for index in range(self.config.num_labels)]
        self.thresholds = getattr(self.config, "thresholds", None) or [0.5] * len(self.labels)
        self.encoders = list(getattr(self.config, "encoders", None) or [])

    def analyse(self, texts: Sequence[str], report: Callable[[int, int], object] | None = None) -> list[Analysis]:
        """
        Classify texts in batches of similar length.

        Args:
            texts (`Sequence[str]`): Any number.
            report (`Callable[[int, int], object]`, *optional*): Told after each batch how many of how many are done.

        Returns:
            `list[Analysis]`: One per text, in their order.
        """
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        found: dict[int, Analysis] = {}
        for start in range(0, len(order), BATCH_SIZE):
            indices = order[start : start + BATCH_SIZE]
            found.update(zip(indices, self._analyse_batch([texts[index] for index in indices]), strict=True))
            if report is not None:
                report(len(found), len(order))
        return [found[index] for index in range(len(texts))]

    @torch.inference_mode()
    def _analyse_batch(self, texts: list[str]) -> list[Analysis]:
        num_texts = len(texts)
        words: list[list[tuple[int, int]]] = [[] for _ in texts]
        truncated = [False] * num_texts
        # A stock model, such as a distilled one, has a stock tokenizer and tells nothing of words.
        if hasattr(self.tokenizer, "tokenizers"):
            encoded = self.tokenizer(
                texts, padding=True, return_words=True, return_truncated=True, return_tensors="pt"
            )
            words, truncated = encoded.pop("words"), encoded.pop("truncated")
        else:
            encoded = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        outputs = self.model(**encoded)
        probabilities = outputs.logits.float().sigmoid().tolist()
        attention = _rows(outputs, "word_attention", num_texts)
        encoder_weights = _rows(outputs, "encoder_weights", num_texts)
        return [
            Analysis(
                text,
                [Emotion(*values) for values in zip(self.labels, scores, self.thresholds, strict=True)],
                _words(spans, shares, weights),
                is_truncated,
            )
            for text, scores, spans, shares, weights, is_truncated in zip(
                texts, probabilities, words, attention, encoder_weights, truncated, strict=True
            )
        ]


def _rows(outputs: Any, name: str, num_texts: int) -> list[list[Any]]:
    """An optional output as lists, one per text; empty ones where the model has no such output."""
    values = getattr(outputs, name, None)
    return [[] for _ in range(num_texts)] if values is None else values.float().tolist()


def _words(spans: list[tuple[int, int]], shares: list[float], weights: list[list[float]]) -> list[Word]:
    """The words of one text. Shares are padded to the longest text, and end at the last word that has a token."""
    return [
        Word(
            start,
            end,
            shares[index] if index < len(shares) else 0.0,
            weights[index] if index < len(weights) and len(weights[index]) > 1 else [],
        )
        for index, (start, end) in enumerate(spans)
    ]


def check_text(text: Any, name: str = "The text") -> str:
    """
    The text, if it is one, with lone surrogates, which cannot be sent back, as U+FFFD.

    Args:
        text: What was given.
        name (`str`, *optional*, defaults to `"The text"`): What to call it in messages.

    Raises:
        [`InputError`]: If it is no string, is blank or is longer than `MAX_CHARACTERS`.
    """
    if not isinstance(text, str):
        raise InputError(f"{name} must be a string, got {type(text).__name__}.")
    if not text.strip():
        raise InputError(f"{name} is empty: type or paste a sentence.")
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{name} has {len(text):,} characters: at most {MAX_CHARACTERS:,} are accepted.")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def check_texts(texts: Any) -> list[str]:
    """
    The texts of a list, each as of [`check_text`].

    Raises:
        [`InputError`]: If it is no list, is empty or holds more than `MAX_ROWS` or a text that is not as expected.
    """
    if not isinstance(texts, list) or not texts:
        raise InputError("The texts must be a list of at least one string.")
    _check_number(len(texts), "The list")
    return [check_text(text, f"Text {number}") for number, text in enumerate(texts, start=1)]


def _check_number(number: int, name: str) -> None:
    if number > MAX_ROWS:
        raise InputError(f"{name} has {number:,} texts: at most {MAX_ROWS:,} are accepted at once.")


def to_json(analysis: Analysis) -> dict[str, Any]:
    """What the API says of one text: `text`, `emotions` and `words` as the model's pipeline, and `probabilities`."""
    return {
        "text": analysis.text,
        "emotions": [emotion._asdict() for emotion in analysis.predicted],
        "words": [
            {
                "word": analysis.text[word.start : word.end],
                "start": word.start,
                "end": word.end,
                "weight": word.attention,
            }
            for word in sorted(analysis.words, key=lambda word: -word.attention)
        ],
        "probabilities": {emotion.label: emotion.score for emotion in analysis.emotions},
    }


class TextFile(NamedTuple):
    """The texts of a file, `""` where one is blank, and the name of the column they are from (none in plain text)."""

    texts: list[str]
    column: str | None


def read_texts(path: str | Path | None) -> TextFile:
    """
    Read a .csv file (header row; column `text` in any case, or the first) or a .txt file (one text per line).

    Args:
        path (`str` or `Path`, *optional*): The file, UTF-8 with or without a byte order mark. Cells of a .csv file
            are separated by commas, semicolons or tabs.

    Raises:
        [`InputError`]: If there is no file, or it is not as described, or holds no text or more than `MAX_ROWS`, or a
            text is longer than `MAX_CHARACTERS`.
    """
    if path is None:
        raise InputError("There is no file yet: choose a .csv or .txt file.")
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".txt"):
        raise InputError(f"Expected a .csv or .txt file, got “{path.name}”.")
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"“{path.name}” is not UTF-8 text: save it as “CSV UTF-8” or as plain UTF-8 text.") from error
    if "\0" in content:
        raise InputError(f"“{path.name}” is not a text file: it holds zero bytes.")
    if path.suffix.lower() == ".txt":
        found = TextFile([line.rstrip("\r") for line in content.removesuffix("\n").split("\n")], None)
    else:
        found = _read_csv(content, path.name)
    _check_number(len(found.texts), f"“{path.name}”")
    texts = [
        check_text(text, f"“{path.name}”, text {number}") if text.strip() else ""
        for number, text in enumerate(found.texts, start=1)
    ]
    if not any(texts):
        raise InputError(f"“{path.name}” holds no text.")
    return found._replace(texts=texts)


def _read_csv(content: str, name: str) -> TextFile:
    first_line = content.partition("\n")[0]
    # In case of a tie the first, so a single column is one of commas.
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise InputError(f"“{name}”, line {reader.line_num} is no valid CSV: {error}.") from error
    if len(rows) < 2:
        raise InputError(f"“{name}” holds no text: expected a header row and a row per text.")
    header, *rows = rows
    for number, row in enumerate(rows, start=1):
        if len(row) > len(header):
            raise InputError(
                f"“{name}”, text {number} has {len(row)} cells, the header has {len(header)}: "
                "put texts that hold the separator in double quotes."
            )
    names = [cell.strip().casefold() for cell in header]
    column = names.index("text") if "text" in names else 0
    return TextFile([row[column] if column < len(row) else "" for row in rows], header[column])


def safe_cell(text: str) -> str:
    """The text, behind an apostrophe if a spreadsheet would run it as a formula."""
    return f"'{text}" if text.lstrip().startswith(_FORMULA_STARTS) or text.startswith(("\t", "\r", "\n")) else text


def results_csv(texts: Sequence[str], analyses: Sequence[Analysis | None], labels: Sequence[str]) -> str:
    """
    A row per text: `text`, `predicted_labels` (separated by `|`, best first) and the probability of each label.

    Args:
        texts (`Sequence[str]`): The texts.
        analyses (`Sequence[Analysis | None]`): One per text; none for a blank one, whose row stays empty.
        labels (`Sequence[str]`): Names of the columns of probabilities.
    """
    output = io.StringIO(newline="")
    writer = csv.writer(output)
    writer.writerow(["text", "predicted_labels", *map(safe_cell, labels)])
    for text, analysis in zip(texts, analyses, strict=True):
        if analysis is None:
            writer.writerow([safe_cell(text), "", *[""] * len(labels)])
            continue
        names = "|".join(emotion.label for emotion in analysis.predicted)
        scores = [f"{emotion.score:.6f}" for emotion in analysis.emotions]
        writer.writerow([safe_cell(text), safe_cell(names), *scores])
    return output.getvalue()


def classify_file(
    model: EmotionModel, path: str | None, report: Callable[[int, int], object]
) -> tuple[TextFile, list[Analysis | None], Path]:
    """
    Classify the texts of a file, its blank ones aside.

    Args:
        model ([`EmotionModel`]): The model.
        path (`str`, *optional*): As for [`read_texts`].
        report (`Callable[[int, int], object]`): As for [`EmotionModel.analyse`].

    Returns:
        `tuple[TextFile, list[Analysis | None], Path]`: What was read, what was found, and the file of results, which
        opens in a spreadsheet as it is.
    """
    file = read_texts(path)
    results = iter(model.analyse([text for text in file.texts if text], report))
    analyses = [next(results) if text else None for text in file.texts]
    # Where gradio keeps what it serves: it deletes the file in time, and makes no copy.
    cache = Path(get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(dir=cache), f"{Path(str(path)).stem}_emotions.csv")
    # With a byte order mark, or spreadsheets garble what is not ASCII.
    target.write_text(results_csv(file.texts, analyses, model.labels), encoding="utf-8-sig", newline="")
    return file, analyses, target


def message_html(message: str) -> str:
    """What went wrong, in place of a result; screen readers say it at once."""
    return f'<p class="se-message" role="alert">{escape(message)}</p>'


def analysis_html(analysis: Analysis, encoders: Sequence[str]) -> str:
    """Everything about one text: its emotions, its words and what each encoder counted for each word."""
    return _emotions_html(analysis) + _words_html(analysis) + _encoder_weights_html(analysis, encoders)


def _emotions_html(analysis: Analysis) -> str:
    predicted = analysis.predicted
    others = sorted((emotion for emotion in analysis.emotions if not emotion.is_predicted), key=lambda e: -e.score)
    names = ", ".join(f"<b>{escape(emotion.label)}</b>" for emotion in predicted)
    num_others = max(_NUM_SHOWN - len(predicted), 0)
    rest = others[num_others:]
    more = f'<details><summary>{len(rest)} more labels</summary><ul class="se-bars">{_bars(rest)}</ul></details>'
    return (
        f'<section><p class="se-verdict" role="status">{names or "No emotion reaches its threshold."}</p>'
        f'<ul class="se-bars">{_bars([*predicted, *others[:num_others]])}</ul>{more if rest else ""}'
        '<p class="se-note"><span class="se-key"></span> The line in a bar is the label’s threshold: '
        "a label whose probability reaches it is predicted.</p></section>"
    )


def _bars(emotions: Iterable[Emotion]) -> str:
    return "".join(
        f'<li class="se-bar{" se-over" if emotion.is_predicted else ""}"><span dir="auto">{escape(emotion.label)}'
        f'</span><span class="se-track" title="probability {emotion.score:.3f}, threshold {emotion.threshold:.3f}">'
        f'<span class="se-fill" style="width:{emotion.score:.2%}"></span>'
        f'<span class="se-limit" style="left:{emotion.threshold:.2%}"></span></span>'
        f"<span>{percent(emotion.score)}"
        f'<span class="se-hidden">, threshold {percent(emotion.threshold)}'
        f"{', predicted' if emotion.is_predicted else ''}</span></span></li>"
        for emotion in emotions
    )


def percent(share: float) -> str:
    """A share in [0, 1] as a whole percentage; what is not nothing does not become 0%."""
    return "&lt;1%" if 0.0 < share < 0.01 else f"{share:.0%}"


def _words_html(analysis: Analysis) -> str:
    if not analysis.words:
        return ""
    highest = max(word.attention for word in analysis.words) or 1.0
    # As from a model that takes the mean of the words: colour everywhere would say that all of them were picked.
    is_even = len(analysis.words) > 1 and highest - min(word.attention for word in analysis.words) < 1e-6
    note = "The stronger the colour, the more attention the word got."
    if is_even:
        note = "Every word counted the same."
    if analysis.is_truncated:
        note += " The end of the text is too long for this model and was not read."
    pieces, end = [], 0
    for word in analysis.words:
        share = 0.0 if is_even else word.attention / highest
        pieces.append(escape(analysis.text[end : word.start]))
        pieces.append(
            f'<mark style="--share:{share:.3f}" title="{percent(word.attention)} of the attention">'
            f"{escape(analysis.text[word.start : word.end])}</mark>"
        )
        end = word.end
    pieces.append(escape(analysis.text[end:]))
    return (
        f'<section><h2>Words that counted</h2><p class="se-text" dir="auto">{"".join(pieces)}</p>'
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
    found = [analysis for analysis in analyses if analysis is not None]
    counts = dict.fromkeys(labels, 0)
    for analysis in found:
        for emotion in analysis.predicted:
            counts[emotion.label] += 1
    num_with = sum(bool(analysis.predicted) for analysis in found)
    num_blank = len(analyses) - len(found)
    column = "" if file.column is None else f" in column “<bdi>{escape(file.column)}</bdi>”"
    blank = f", {num_blank:,} blank" if num_blank else ""
    bars = "".join(
        f'<li class="se-bar se-over"><span dir="auto">{escape(label)}</span><span class="se-track">'
        f'<span class="se-fill" style="width:{count / len(found):.2%}"></span></span><span>{count:,}</span></li>'
        for label, count in sorted(counts.items(), key=lambda item: -item[1])
        if count
    )
    return (
        f'<section><p class="se-verdict" role="status"><b>{len(analyses):,} texts</b>{column}{blank}</p>'
        f'<p class="se-note">{num_with:,} of {len(found):,} have at least one emotion that reaches its threshold.</p>'
        f'<ul class="se-bars">{bars}</ul></section>'
    )


def correlation_html(labels: Sequence[str], correlation: Sequence[Sequence[float]]) -> str:
    """
    The heat map of label correlations, labels that come together beside each other, and the strongest pairs in words.

    Args:
        labels (`Sequence[str]` of length `num_labels`): At least two.
        correlation (`Sequence[Sequence[float]]` of shape `(num_labels, num_labels)`): In [-1, 1].
    """
    matrix = np.asarray(correlation, dtype=np.float64)
    # Average linkage with optimally ordered leaves (Bar-Joseph et al., 2001, Fast Optimal Leaf Ordering).
    mean = (matrix + matrix.T) / 2.0
    distances = squareform(1.0 - mean, checks=False)
    order = leaves_list(linkage(distances, method="average", optimal_ordering=True)).tolist()
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
        "<section><p>Which labels come together in the training texts, and which avoid each other.</p>"
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


def build(model: EmotionModel) -> gr.Blocks:
    """
    The app.

    Its API: `/classify` takes a `text`, `/classify_batch` a list of `texts`; the answers are those of [`to_json`].
    """

    def show(text: str) -> str:
        try:
            return analysis_html(model.analyse([check_text(text)])[0], model.encoders)
        except InputError as error:
            return message_html(str(error))

    def show_file(path: str | None, progress: gr.Progress = gr.Progress()) -> tuple[Any, str]:  # noqa: B008
        try:
            file, analyses, target = classify_file(model, path, lambda done, total: progress((done, total)))
        except InputError as error:
            return gr.DownloadButton(value=None, interactive=False), message_html(str(error))
        return gr.DownloadButton(value=target, interactive=True), summary_html(file, analyses, model.labels)

    def classify(text: str) -> dict[str, Any]:
        """Emotions of one text at their thresholds, its words by attention, and the probability of every label."""
        return _answer(lambda: to_json(model.analyse([check_text(text)])[0]))

    def classify_batch(texts: list[str]) -> list[dict[str, Any]]:
        """The same for a list of texts, none of them blank."""
        return _answer(lambda: [to_json(found) for found in model.analyse(check_texts(texts))])

    with gr.Blocks(title="Emotions in text", analytics_enabled=False, delete_cache=DELETE_CACHE) as app:
        gr.HTML(_header_html(model), apply_default_css=False, js_on_load=None)
        with gr.Tab("Text"):
            _text_tab(show)
        with gr.Tab("File"):
            _file_tab(show_file)
        with gr.Tab("Label correlation"):
            gr.HTML(_correlation_page(model), elem_classes="se-page", apply_default_css=False, js_on_load=None)
        gr.api(classify, api_name="classify", concurrency_id="model")
        gr.api(classify_batch, api_name="classify_batch", concurrency_id="model")
    return app


def _text_tab(show: Callable[[str], str]) -> None:
    # The style sheet puts the result beside the others on wide screens and between them on narrow ones.
    with gr.Column(elem_id="se-text-tab"):
        with gr.Column(elem_classes="se-area-input"):
            text = gr.Textbox(
                label="Text",
                placeholder="English, Arabic … / اكتب هنا",
                lines=4,
                max_lines=12,
                max_length=MAX_CHARACTERS,
                elem_id="se-input",
            )
            button = gr.Button("Find emotions", variant="primary", elem_id="se-submit")
        with gr.Column(elem_classes="se-area-result"):
            result = _output("se-result", "The emotions of your text appear here.")
        with gr.Column(elem_classes="se-area-examples"):
            examples = gr.Examples(
                [[example] for example in EXAMPLES], [text], label="Examples", elem_id="se-examples"
            )
    options: dict[str, Any] = {"concurrency_id": "model", "scroll_to_output": True, "api_visibility": "private"}
    gr.on([button.click, text.submit], show, text, result, **options)
    examples.load_input_event.then(show, text, result, **options)


def _file_tab(show_file: Callable[..., tuple[Any, str]]) -> None:
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            gr.HTML(
                f'<p class="se-note">A .csv file with a header row (column <code>text</code>, else the first) or a '
                f".txt file with one text per line; UTF-8, at most {MAX_ROWS:,} texts.</p>",
                apply_default_css=False,
                js_on_load=None,
            )
            file = gr.File(label="File", file_types=[".csv", ".txt"], elem_id="se-file", height=140)
            button = gr.Button("Classify file", variant="primary", elem_id="se-classify")
            download = gr.DownloadButton("Download results (CSV)", interactive=False, elem_id="se-download")
        with gr.Column(scale=3, min_width=300):
            summary = _output("se-summary", "A summary appears here; the download has all probabilities.")
    button.click(
        show_file, file, [download, summary], concurrency_id="model", scroll_to_output=True, api_visibility="private"
    )


def _output(elem_id: str, placeholder: str) -> gr.HTML:
    return gr.HTML(
        f'<p class="se-empty">{placeholder}</p>',
        elem_id=elem_id,
        elem_classes="se-page",
        apply_default_css=False,
        js_on_load=None,
    )


def _header_html(model: EmotionModel) -> str:
    if Path(model.source).exists():
        source = f"<code>{escape(Path(model.source).resolve().name)}</code>"
    else:
        source = f'<a href="https://huggingface.co/{escape(model.source)}">{escape(model.source)}</a>'
    return (
        '<header class="se-header"><h1>Emotions in text</h1>'
        f"<p>{len(model.labels)} labels, several at once. Model: {source}. "
        "Texts are not kept, files are deleted within two hours.</p></header>"
    )


def _correlation_page(model: EmotionModel) -> str:
    correlation = getattr(model.config, "label_correlation", None)
    if correlation is None or len(model.labels) < 2:
        return '<p class="se-empty">This model does not say how its labels came together in its training texts.</p>'
    return correlation_html(model.labels, correlation)


def _answer(call: Callable[[], Any]) -> Any:
    """The result of an API call; bad input becomes an error with its message."""
    try:
        return call()
    except InputError as error:
        raise gr.Error(str(error), print_exception=False) from error


def launch(model: EmotionModel, **options: Any) -> Any:
    """
    Serve the app in its looks.

    Args:
        model ([`EmotionModel`]): The model.
        options: Further ones of gradio's `launch`, such as `server_port`, `share` and `prevent_thread_lock`.

    Returns:
        What gradio's `launch` returns: server, local URL, shared URL.
    """
    # Fonts of the visitor's own machine. The button is dark enough for white letters on it.
    theme = gr.themes.Base(
        primary_hue="teal",
        font=("system-ui", "Segoe UI", "Roboto", "Noto Sans", "Noto Sans Arabic", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
    )
    return build(model).launch(
        theme=theme,
        css_paths=HERE / "style.css",
        footer_links=["api"],
        # Gradio 6 would keep every call in the visitor's browser.
        run_history=False,
        max_file_size=MAX_FILE_SIZE,
        ssr_mode=False,
        **options,
    )


def main() -> None:
    """Serve the model that the environment or `demo.json` names."""
    settings = HERE / "demo.json"
    named = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    if model_id := os.environ.get("MODEL_ID"):
        # Another model has other revisions.
        named = {"model_id": model_id, "model_revision": os.environ.get("MODEL_REVISION")}
    if "model_id" not in named:
        raise SystemExit("error: no model is named; set MODEL_ID to a Hub id or a folder.")
    launch(EmotionModel(named["model_id"], named.get("model_revision")))


if __name__ == "__main__":
    main()
