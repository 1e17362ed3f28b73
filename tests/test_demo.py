# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.demo and scripts.demo: what is said of a text, files, escaping, the API, the staged Space."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio_client
import httpx
import numpy as np
import pytest
import torch
import yaml
from conftest import CORPUS, fails, free_port, stock_classifier
from required_packages import SPACE, lacking_packages
from transformers import AutoTokenizer

from hub.demo import app
from hub.demo.analysis import (
    Analysis,
    Emotion,
    EmotionModel,
    InputError,
    Word,
    check_text,
    check_texts,
    to_json,
)
from hub.demo.pages import (
    analysis_html,
    correlation_html,
    correlation_page,
    header_html,
    message_html,
    percent,
    summary_html,
)
from hub.demo.staging import stage_demo
from hub.demo.text_files import TextFile, read_texts, results_csv, safe_cell
from scripts import demo

pytest_plugins = ["served_demo"]

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ["so happy, thank you", "أنا سعيد جدا اليوم", "😢", "I can't believe he said that to her..."]
CORRELATION = [[1.0, -0.3, 0.2, 0.1], [-0.3, 1.0, -0.1, 0.0], [0.2, -0.1, 1.0, 0.4], [0.1, 0.0, 0.4, 1.0]]
HOSTILE = "<img src=x onerror=alert(1)> & \"quoted\" 'single' </p><script>alert(2)</script> ${1+1} {{value}}"


class Tags(HTMLParser):
    """Counts the tags, keeps the text, and insists that every element is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def analysis(text: str = "so happy", scores: tuple[float, ...] = (0.9, 0.2, 0.5), **fields: Any) -> Analysis:
    labels, thresholds = ("joy", "fear", "love"), (0.4, 0.3, 0.5)
    emotions = [Emotion(*values) for values in zip(labels, scores, thresholds, strict=True)]
    return Analysis(text, emotions, **{"words": [], "is_truncated": False} | fields)


def rows_of(content: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content, newline="")))


# ---------------------------------------------------------------------------------------------- the model


def test_analysis_is_what_the_model_says_of_each_text_alone(demo_model: EmotionModel) -> None:
    steps: list[tuple[int, int]] = []
    answers = demo_model.analyse(TEXTS, lambda done, total: steps.append((done, total)))
    assert steps == [(4, 4)]
    assert [answer.text for answer in answers] == TEXTS
    for text, answer in zip(TEXTS, answers, strict=True):
        encoded = demo_model.tokenizer([text], padding=True, return_words=True, return_tensors="pt")
        spans = encoded.pop("words")[0]
        with torch.inference_mode():
            outputs = demo_model.model(**encoded, output_word_parts=True)
        assert [emotion.label for emotion in answer.emotions] == ["anger", "joy", "sadness", "fear"]
        assert [emotion.threshold for emotion in answer.emotions] == demo_model.config.thresholds
        scores = [emotion.score for emotion in answer.emotions]
        np.testing.assert_allclose(scores, outputs.logits[0].sigmoid(), atol=1e-5)
        assert [(word.start, word.end) for word in answer.words] == spans
        np.testing.assert_allclose([word.attention for word in answer.words], outputs.word_attention[0], atol=1e-5)
        weights = np.array([word.encoder_weights for word in answer.words])
        np.testing.assert_allclose(weights, outputs.encoder_weights[0], atol=1e-5)
        assert weights.shape == (len(spans), 3)
    assert demo_model.encoders == ["bert_wp", "electra_uni", "roberta_bb"]


def test_a_click_on_an_emotion_shows_the_words_and_encoders_that_decided(demo_model: EmotionModel) -> None:
    text = "so happy, thank <you>"
    (plain,), (answer,) = demo_model.analyse([text]), demo_model.analyse([text], explain=True)
    assert plain.explanation is None
    assert "<details" not in analysis_html(plain, demo_model.encoders)
    (pieces, falls), parts = answer.explanation, answer.logit_parts
    html = analysis_html(answer, demo_model.encoders)
    page = Tags(html)
    assert page.counts["details"] == html.count('<summary class="se-bar') == 4
    assert page.counts["mark"] == 4 * len(pieces) + len(answer.words)
    first = max(answer.emotions, key=lambda emotion: (emotion.is_predicted, emotion.score))
    label = answer.emotions.index(first)
    opened = html[html.index("<details") : html.index("</details>")] + "</details>"
    for (start, end), fall in zip(pieces, falls[:, label].tolist(), strict=True):
        kind = ' class="se-against"' if fall < 0 else ""
        assert re.search(rf'<mark{kind} style="--share:[\d.]+" title="{re.escape(f"{fall:+.2f}")}">', opened)
        assert text[start:end] in Tags(opened).text
    for name, value in zip([*demo_model.encoders, "rest of the model", "bias"], parts[:, label].tolist(), strict=True):
        assert f"{name} {value:+.2f}" in Tags(opened).text


def test_batches_do_not_change_the_answers(demo_model: EmotionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    together = demo_model.analyse(CORPUS)
    monkeypatch.setattr("trainer_ext.evaluation.engine._TOKENS_ON_CPU", 300)
    steps: list[int] = []
    apart = demo_model.analyse(CORPUS, lambda done, total: steps.append(done))
    assert len(steps) > 3
    assert steps == sorted(steps)
    assert steps[-1] == len(CORPUS)
    assert [answer.text for answer in apart] == CORPUS
    for first, other in zip(together, apart, strict=True):
        np.testing.assert_allclose([e.score for e in first.emotions], [e.score for e in other.emotions], atol=1e-5)
    assert demo_model.analyse([]) == []


def test_long_text_says_that_its_end_was_not_read(demo_model: EmotionModel) -> None:
    short, long = demo_model.analyse(["so happy", "so happy " * 200])
    assert (short.is_truncated, long.is_truncated) == (False, True)
    assert len(long.words) < 400
    assert "was not read" not in analysis_html(short, demo_model.encoders)
    assert "was not read" in analysis_html(long, demo_model.encoders)


@pytest.fixture(scope="module")
def stock_folder(encoder_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of a stock architecture, as a distilled one is."""
    folder = tmp_path_factory.mktemp("stock")
    tokenizer = AutoTokenizer.from_pretrained(encoder_folders["bert_wp"])
    stock_classifier(tokenizer, id2label={0: "joy", 1: "fear"}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_stock_model_shows_emotions_at_one_half_and_no_words(stock_folder: Path) -> None:
    model = EmotionModel(str(stock_folder))
    answers = model.analyse(TEXTS)
    assert [emotion.threshold for emotion in answers[0].emotions] == [0.5, 0.5]
    assert [answer.words for answer in answers] == [[], [], [], []]
    page = Tags(analysis_html(answers[0], model.encoders))
    assert page.counts["section"] == 1
    assert "table" not in page.counts
    assert "does not say" in correlation_page(model)


def test_model_that_is_not_multi_label_is_refused(stock_folder: Path, tmp_path: Path) -> None:
    for path in stock_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["problem_type"] = None
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="is no multi-label classifier: its `problem_type` must be"):
        EmotionModel(str(tmp_path))


def test_revision_pins_code_weights_and_tokenizer(demo_model: EmotionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def load(source: str, **options: Any) -> Any:
        is_model = options.pop("output_loading_info", False) and options.pop("use_safetensors")
        asked.append((source, options))
        return (demo_model.model, {"missing_keys": set()}) if is_model else demo_model.tokenizer

    for name in ("AutoModelForSequenceClassification", "AutoTokenizer"):
        monkeypatch.setattr(f"hub.demo.analysis.{name}", SimpleNamespace(from_pretrained=load))
    EmotionModel("user/model", "v1")
    EmotionModel("user/model")
    assert asked == [
        ("user/model", {"trust_remote_code": True, "revision": name}) for name in ("v1", "v1", "main", "main")
    ]


def test_page_links_a_model_of_the_hub_and_names_a_folder(demo_model: EmotionModel) -> None:
    assert "Model: <code>tiny_model</code>." in header_html(demo_model)
    other: Any = SimpleNamespace(source="user/model", labels=["joy"])
    assert 'Model: <a href="https://huggingface.co/user/model">user/model</a>.' in header_html(other)


def test_json_has_the_labels_at_their_thresholds_best_first() -> None:
    words = [Word(0, 2, 0.25, []), Word(3, 8, 0.75, [])]
    parts = [(0.1, 0.0, -0.5), (0.25, 0.0, 2.0)]
    so, happy = {"word": "so", "start": 0, "end": 2}, {"word": "happy", "start": 3, "end": 8}
    assert to_json(analysis(scores=(0.5, 0.1, 0.9), words=words, word_parts=parts)) == {
        "text": "so happy",
        "emotions": [
            {"label": "love", "score": 0.9, "threshold": 0.5, "words": [happy | {"part": 2.0}]},
            {"label": "joy", "score": 0.5, "threshold": 0.4, "words": [happy | {"part": 0.25}, so | {"part": 0.1}]},
        ],
        "attention": [happy | {"weight": 0.75}, so | {"weight": 0.25}],
        "probabilities": {"joy": 0.5, "fear": 0.1, "love": 0.9},
    }


def test_page_of_300_labels_stays_small() -> None:
    labels = [f"label {index}" for index in range(300)]
    correlation = np.eye(300)
    correlation[7, 200] = correlation[200, 7] = -0.9
    page = correlation_html(labels, correlation.tolist())
    assert page.count('<th scope="row">') == 50
    assert "Here: the 50 with the strongest." in page
    assert "label 7 + label 200: -0.90" in page or "label 200 + label 7: -0.90" in page
    assert len(page) < 500_000
    emotions = [Emotion(label, 0.9, 0.5) for label in labels]
    summary = summary_html(TextFile(["a"], None), [Analysis("a", emotions, [], False)], labels)
    assert "<summary>270 more labels</summary>" in summary


def test_message_of_a_page_is_short() -> None:
    assert str(InputError("two\nlines")) == "two lines"
    assert len(str(InputError("x" * 500_000))) < 600


@pytest.mark.parametrize(
    ("languages", "scripts", "shown"),
    [
        (None, None, ["en", "ar"]),
        (None, ["Latin"], ["en"]),
        (["arq"], ["Arabic", "Latin"], ["ar"]),
        (["en"], ["Latin"], ["en"]),
        (["ha"], ["Latin"], []),
    ],
)
def test_examples_are_in_the_languages_of_the_model(
    demo_model: EmotionModel, languages: list[str] | None, scripts: list[str] | None, shown: list[str]
) -> None:
    model: Any = SimpleNamespace(
        **{**vars(demo_model), "languages": languages, "scripts": scripts, "analyse": demo_model.analyse}
    )
    components = str(app.build(model).get_config_file()["components"])
    found = [language for language, texts in app.EXAMPLES.items() if all(text[:20] in components for text in texts)]
    assert found == shown
    assert ("اكتب هنا" in components) == ("ar" in shown)


def test_unfamiliar_script_is_noted(demo_model: EmotionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_model, "scripts", ["Latin"])
    plain, arabic = demo_model.analyse(["so happy", "أنا سعيد"])
    assert (plain.unfamiliar_script, arabic.unfamiliar_script) == (None, "Arabic")
    assert to_json(arabic)["unfamiliar_script"] == "Arabic"
    assert "unfamiliar_script" not in to_json(plain)
    note = "This model was not trained on the script of this text (Arabic): do not rely on its answer."
    assert note in Tags(analysis_html(arabic, [])).text
    assert "not trained" not in analysis_html(plain, [])


# ---------------------------------------------------------------------------------------------- texts and files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "The text must be a string, got NoneType"),
        (5, "The text must be a string, got int"),
        ("", "The text is empty: type or paste a sentence"),
        (" \n\t", "The text is empty"),
        ("x" * 5001, "The text has 5,001 characters: at most 5,000 are accepted"),
    ],
)
def test_bad_text(text: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_text(text)


def test_text_at_the_limit_and_surrogates() -> None:
    assert check_text("x" * 5000) == "x" * 5000
    assert check_text("a\ud83d b 😢 \udc00") == "a\ufffd b 😢 \ufffd"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "must be a list of at least one string"),
        ("text", "must be a list of at least one string"),
        ({"text": "a"}, "must be a list of at least one string"),
        (["a", " "], "Text 2 is empty"),
        (["a", 5], "Text 2 must be a string, got int"),
        (["a"] * 1001, "The list has 1,001 texts: at most 1,000 are accepted at once"),
    ],
)
def test_bad_list_of_texts(texts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_texts(texts)


@pytest.mark.parametrize(
    ("name", "content", "texts", "column"),
    [
        ("a.csv", "text\nso happy\n", ["so happy"], "text"),
        ("a.csv", "id,Text ,source\r\n1,so happy,x\r\n2,sad,y\r\n", ["so happy", "sad"], "Text "),
        ("a.CSV", "comment,id\nso happy,1\n", ["so happy"], "comment"),
        ("a.csv", "id,tweet\n1,so happy\n2,sad\n", ["so happy", "sad"], "tweet"),
        ("a.csv", "post\nso happy\n", ["so happy"], "post"),
        ("a.csv", "id;text\n1;so, happy\n2;sad\n", ["so, happy", "sad"], "text"),
        ("a.csv", "id\ttext\n1\tso, happy\n", ["so, happy"], "text"),
        ("a.csv", 'text,id\n"two\nlines, ""quoted""",1\n', ['two\nlines, "quoted"'], "text"),
        ("a.csv", "id,text\n1,a\n2\n3, \n4,b", ["a", "", "", "b"], "text"),
        ("a.csv", "\ufefftext\nأنا سعيد\n", ["أنا سعيد"], "text"),
        ("a.txt", "so happy, today\n\nsad\n", ["so happy, today", "", "sad"], None),
        ("a.txt", "\ufeffone\r\ntwo", ["one", "two"], None),
        ("a.txt", "text", ["text"], None),
    ],
)
def test_texts_of_a_file(tmp_path: Path, name: str, content: str, texts: list[str], column: str | None) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert read_texts(tmp_path / name) == (texts, column)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pdf", b"%PDF", "Expected a .csv or .txt file, got “a.pdf”"),
        ("a.csv", b"", "“a.csv” holds no text: expected a header row and a row per text"),
        ("a.csv", b"text\n", "“a.csv” holds no text"),
        ("a.csv", b"text,id\n,1\n ,2\n", "“a.csv” holds no text"),
        ("a.txt", b"\n\n", "“a.txt” holds no text"),
        ("a.csv", "text\ncafé\n".encode("latin-1"), "“a.csv” is not UTF-8 text: save it as “CSV UTF-8”"),
        ("a.csv", "text\nhappy\n".encode("utf-16"), "“a.csv” is not UTF-8 text"),
        ("a.txt", b"PK\x03\x04\x00\x00", "“a.txt” is not a text file: it holds zero bytes"),
        ("a.csv", b'text\n"never closed\n', "“a.csv”, line 2 is no valid CSV"),
        ("a.csv", b"id,post\n1,so happy\n", "“a.csv” has no column of texts: call it text or tweet or sentence"),
        ("a.csv", b"text\n" + b"x" * 140_000, "“a.csv”, text 1 has 140,000 characters: at most 5,000"),
        ("a.csv", b"text\nso happy\nso, happy\n", "“a.csv”, text 2 has 2 cells, the header has 1: put texts"),
        ("a.txt", b"happy\n" * 1001, "“a.txt” has 1,001 texts: at most 1,000 are accepted"),
        ("a.txt", b"ok\n" + b"x" * 5001, "“a.txt”, text 2 has 5,001 characters: at most 5,000"),
    ],
)
def test_bad_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_texts(tmp_path / name)


def test_no_file() -> None:
    with pytest.raises(InputError, match="There is no file yet"):
        read_texts(None)


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\rx",
        "\nx",
        "  =1",
        "\u00a0=1",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff20a",
    ],
)
def test_formulas_are_defused(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "so happy", "a=b", "1-2", "'=1", "me@home", "أنا سعيد", ":-("])
def test_other_cells_stay(text: str) -> None:
    assert safe_cell(text) == text


def test_results_are_read_back_as_they_were() -> None:
    texts = ['=HYPERLINK("http://x")', "", 'two\nlines, "quoted"; أنا']
    analyses = [analysis(texts[0]), None, analysis(texts[2], scores=(0.1, 0.2, 0.3))]
    assert rows_of(results_csv(texts, analyses, ["joy", "=fear", "love"])) == [
        ["text", "predicted_labels", "joy", "'=fear", "love"],
        ['\'=HYPERLINK("http://x")', "joy|love", "0.900000", "0.200000", "0.500000"],
        ["", "", "", "", ""],
        ['two\nlines, "quoted"; أنا', "", "0.100000", "0.200000", "0.300000"],
    ]


def test_file_is_classified_row_by_row(
    demo_model: EmotionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    (tmp_path / "mine.csv").write_text(f'text\n{TEXTS[1]}\n" "\n=so sad\n', encoding="utf-8")
    file, analyses, target = app.classify_file(demo_model, str(tmp_path / "mine.csv"), lambda done, total: None)
    assert target.name == "mine_emotions.csv"
    assert target.parent.parent == tmp_path / "cache"
    content = target.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    header, *rows = rows_of(content.decode("utf-8-sig"))
    assert header == ["text", "predicted_labels", "anger", "joy", "sadness", "fear"]
    assert [row[0] for row in rows] == [TEXTS[1], "", "'=so sad"]
    assert rows[1] == [""] * 6
    (expected,) = demo_model.analyse([TEXTS[1]])
    assert rows[0][1].split("|") == [emotion.label for emotion in expected.predicted]
    np.testing.assert_allclose(
        [float(cell) for cell in rows[0][2:]], [emotion.score for emotion in expected.emotions], atol=1e-5
    )
    output = Tags(summary_html(file, analyses, demo_model.labels)).text
    assert "3 texts in column “text”, 1 blank" in output
    assert "of 2 have at least one emotion" in output


def test_summary_counts_the_labels() -> None:
    analyses = [analysis(), None, analysis(scores=(0.5, 0.0, 0.0)), analysis(scores=(0.0, 0.0, 0.0))]
    html = summary_html(TextFile(["a", "", "b", "c"], "<b>"), analyses, ["joy", "fear", "love"])
    page = Tags(html)
    assert "4 texts in column “<b>”, 1 blank2 of 3 have" in page.text
    assert page.text.endswith("joy2love1")
    assert re.findall(r"width:([\d.]+)%", html) == ["66.67", "33.33"]


# ---------------------------------------------------------------------------------------------- HTML


def test_emotions_over_their_thresholds_come_first() -> None:
    html = analysis_html(analysis(scores=(0.45, 0.29, 0.7)), [])
    bars = re.findall(r'<li class="(.*?)"><span dir="auto">(.*?)</span>.*?width:(.*?)%.*?left:(.*?)%', html)
    assert bars == [
        ("se-bar se-over", "love", "70.00", "50.00"),
        ("se-bar se-over", "joy", "45.00", "40.00"),
        ("se-bar", "fear", "29.00", "30.00"),
    ]
    page = Tags(html)
    assert page.text.startswith("love, joy")
    assert page.text.count("predicted") == 3
    assert "No emotion reaches its threshold." in Tags(analysis_html(analysis(scores=(0.0,) * 3), [])).text


def test_many_labels_are_folded() -> None:
    emotions = [Emotion(f"label{index}", 0.02 * index, 0.5) for index in range(28)]
    page = Tags(analysis_html(Analysis("so happy", emotions, [], False), []))
    assert page.counts["li"] == 28
    assert "17 more labels" not in page.text
    assert "20 more labels" in page.text


def test_words_keep_the_text_and_get_their_shares() -> None:
    text = " so\n<b>happy</b>  !"
    words = [Word(1, 3, 0.2, []), Word(7, 12, 0.8, []), Word(18, 19, 0.0, [])]
    html = analysis_html(analysis(text, words=words), [])
    page = Tags(html)
    assert page.counts["mark"] == 3
    assert text in page.text
    assert re.findall(r"--share:([\d.]+)", html) == ["0.250", "1.000", "0.000"]
    assert '<p class="se-text" dir="auto">' in html


def test_even_attention_is_said_and_not_coloured() -> None:
    html = analysis_html(analysis("so happy", words=[Word(0, 2, 0.5, []), Word(3, 8, 0.5, [])]), [])
    assert re.findall(r"--share:([\d.]+)", html) == ["0.000", "0.000"]
    assert "Every word got the same attention." in html
    assert "--share:1.000" in analysis_html(analysis("so", words=[Word(0, 2, 1.0, [])]), [])


def test_encoder_weights_have_a_row_per_word() -> None:
    words = [Word(0, 2, 0.5, [0.25, 0.75]), Word(3, 8, 0.5, [1.0, 0.001])]
    page = Tags(analysis_html(analysis("so happy", words=words), ["bert", "<ai>"]))
    assert page.counts["tr"] == 3
    assert page.counts["td"] == 4
    assert "wordbert<ai>so25%75%happy100%<1%" in page.text


@pytest.mark.parametrize(
    "html", [message_html(HOSTILE), analysis_html(Analysis("", [Emotion(HOSTILE, 0.5, 0.5)], [], False), [])]
)
def test_text_of_others_is_escaped(html: str) -> None:
    page = Tags(html)
    assert HOSTILE in page.text
    assert not {"img", "script"} & page.counts.keys()


def test_hostile_text_is_shown_as_it_is(demo_model: EmotionModel) -> None:
    page = Tags(analysis_html(demo_model.analyse([HOSTILE])[0], demo_model.encoders))
    assert HOSTILE in page.text
    assert not {"img", "script"} & page.counts.keys()


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0%"), (0.001, "&lt;1%"), (0.0099, "&lt;1%"), (0.01, "1%"), (0.4151, "42%"), (1.0, "100%")],
)
def test_percent(share: float, shown: str) -> None:
    assert percent(share) == shown


def test_heat_map_orders_the_labels_and_names_the_strongest_pairs() -> None:
    html = correlation_html(["<anger>", "joy", "sadness", "fear"], CORRELATION)
    page = Tags(html)
    assert page.counts["td"] == 1 + 4 * 4
    assert page.counts["li"] == 6
    order = re.findall(r'<th scope="row">(.*?)</th>', html)
    assert abs(order.index("sadness") - order.index("fear")) == 1
    assert re.search(r"Strongest pairs(sadness \+ fear|fear \+ sadness): \+0.40", page.text)
    shares = re.findall(r'class="se-(apart|together)" style="--share:([\d.]+)" title="(.*?): (.*?)"', html)
    assert len(shares) == 12
    values = dict(zip(["&lt;anger&gt;", "joy", "sadness", "fear"], CORRELATION, strict=True))
    for kind, share, pair, value in shares:
        row, column = pair.split(" and ")
        expected = values[row][list(values).index(column)]
        assert float(value) == expected
        assert float(share) == pytest.approx(abs(expected) / 0.4, abs=1e-3)
        assert kind == ("apart" if expected < 0 else "together")


# ---------------------------------------------------------------------------------------------- the API


def test_api_classifies(demo_url: str, demo_model: EmotionModel) -> None:
    client = gradio_client.Client(demo_url, verbose=False)
    endpoints = client.view_api(return_format="dict", print_info=False)
    assert list(endpoints["named_endpoints"]) == ["/classify", "/classify_batch"]
    assert endpoints["unnamed_endpoints"] == {}
    first = client.predict(text=TEXTS[0], api_name="/classify")
    expected = to_json(demo_model.analyse([TEXTS[0]])[0])
    assert first["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    assert [emotion["label"] for emotion in first["emotions"]] == [
        emotion["label"] for emotion in expected["emotions"]
    ]
    assert {word["word"] for word in first["attention"]} == {"so", "happy", ",", "thank", "you"}
    several = client.predict(texts=TEXTS, api_name="/classify_batch")
    assert [answer["text"] for answer in several] == TEXTS
    assert several[0]["probabilities"] == pytest.approx(first["probabilities"], abs=1e-5)


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/classify", {"text": " "}, "The text is empty: type or paste a sentence."),
        ("/classify", {"text": ["a"]}, "The text must be a string, got list."),
        ("/classify_batch", {"texts": ["a", ""]}, "Text 2 is empty: type or paste a sentence."),
    ],
)
def test_api_says_what_is_wrong(demo_url: str, endpoint: str, arguments: dict[str, Any], message: str) -> None:
    client = gradio_client.Client(demo_url, verbose=False)
    with pytest.raises(gradio_client.exceptions.AppError, match=re.escape(message)):
        client.predict(api_name=endpoint, **arguments)


def test_nothing_is_reported_or_remembered_and_no_font_is_fetched(demo_url: str) -> None:
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    config = httpx.get(f"{demo_url}config").json()
    assert config["analytics_enabled"] is False
    assert config["run_history"] is False
    style = httpx.get(f"{demo_url}theme.css").text + config["css"]
    assert "system-ui" in style
    # A name in pictures that the theme holds itself.
    assert set(re.findall(r"https?://[\w.]+", style)) <= {"http://www.w3.org"}
    assert "@import" not in style
    assert config["stylesheets"] == []


# ---------------------------------------------------------------------------------------------- the Space


def test_staged_space_is_complete_and_the_same_each_time(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        stage_demo(folder, repo_id="user/emotions", model_id="user/model", model_revision="v1.0")
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]
    code = {name for name in contents[0] if name.endswith(".py")}
    own = {"app.py", "analysis.py", "pages.py", "text_files.py"}
    copied = {
        "description_stacked_emotion.py",
        "engine.py",
        "explanation_stacked_emotion.py",
        "headers.py",
        "label_order.py",
        "languages.py",
        "length_batches.py",
        "memory.py",
        "precision.py",
        "scripts_stacked_emotion.py",
        "text_stacked_emotion.py",
    }
    assert code == own | copied
    assert set(contents[0]) - code == {"README.md", "style.css", "demo.json", "requirements.txt"}
    assert json.loads(contents[0]["demo.json"]) == {"model_id": "user/model", "model_revision": "v1.0"}
    card = contents[0]["README.md"].decode()
    _, metadata, body = card.split("---\n", 2)
    space = yaml.safe_load(metadata)
    assert space["sdk"] == "gradio"
    assert space["models"] == ["user/model"]
    assert f"gradio=={space['sdk_version']}\n" in contents[0]["requirements.txt"].decode()
    assert len(space["short_description"]) <= 60
    assert 'Client("user/emotions")' in body
    assert "revision `v1.0`" in body
    assert "$" not in card
    requirements = contents[0]["requirements.txt"].decode().splitlines()
    assert all(re.fullmatch(r"[a-z]+==\d[\w.]*", line) for line in requirements)
    for name in code:
        for word in (r"\.", r"hub\b", r"scripts\b", "trainer_ext", r"modeling_stacked_emotion\b"):
            assert not re.search(rf"^\s*(from|import) {word}", contents[0][name].decode(), flags=re.MULTILINE)
    assert lacking_packages(tmp_path / "one", SPACE) == set()


@pytest.mark.parametrize("revision", ["", "a b"])
def test_a_bad_revision_is_refused(tmp_path: Path, revision: str) -> None:
    with pytest.raises(ValueError, match=f"`model_revision` must be a commit, tag or branch, got '{revision}'"):
        stage_demo(tmp_path, repo_id="user/emotions", model_id="user/model", model_revision=revision)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.demo.staging.PACKAGES", ("gradio", "no_such_package"))
    with pytest.raises(ImportError, match=r'no_such_package is not installed.*pip install "stacked-emotion\[demo\]"'):
        stage_demo(tmp_path, repo_id="user/emotions", model_id="user/model")


def test_app_without_a_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "HERE", tmp_path)
    monkeypatch.delenv("MODEL_ID", raising=False)
    with pytest.raises(SystemExit, match="error: no model is named; set MODEL_ID"):
        app.main()


@pytest.mark.parametrize(
    ("environment", "loaded"),
    [
        ({}, ("user/model", "v1")),
        ({"MODEL_ID": "other/model"}, ("other/model", None)),
        ({"MODEL_ID": "other/model", "MODEL_REVISION": "v2"}, ("other/model", "v2")),
    ],
)
def test_app_loads_the_model_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], loaded: tuple[str, str | None]
) -> None:
    stage_demo(tmp_path, repo_id="user/emotions", model_id="user/model", model_revision="v1")
    monkeypatch.setattr(app, "HERE", tmp_path)
    for name in ("MODEL_ID", "MODEL_REVISION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    served: list[Any] = []
    monkeypatch.setattr(app, "EmotionModel", lambda *names: names)
    monkeypatch.setattr(app, "launch", served.append)
    app.main()
    assert served == [loaded]


def client_when_ready(process: subprocess.Popen[bytes], port: int) -> gradio_client.Client:
    for _ in range(240):
        assert process.poll() is None, "the app ended"
        try:
            return gradio_client.Client(f"http://127.0.0.1:{port}", verbose=False)
        except Exception:
            time.sleep(0.5)
    raise AssertionError("the app does not answer")


@pytest.mark.slow
def test_staged_space_runs_alone(tmp_path: Path, demo_folder: Path, demo_model: EmotionModel) -> None:
    """In a process that cannot import the project, as a Space starts it."""
    stage_demo(tmp_path, repo_id="user/emotions", model_id="user/model")
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "GRADIO_TEMP_DIR")}
    environment |= {"MODEL_ID": str(demo_folder), "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    with subprocess.Popen([sys.executable, "app.py"], cwd=tmp_path, env=environment) as process:
        try:
            answer = client_when_ready(process, port).predict(text=TEXTS[1], api_name="/classify")
        finally:
            process.terminate()
    expected = to_json(demo_model.analyse([TEXTS[1]])[0])
    assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)


# ---------------------------------------------------------------------------------------------- the command


def test_command_serves_the_model(demo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[EmotionModel, dict[str, Any]]] = []
    monkeypatch.setattr(app, "launch", lambda model, **options: served.append((model, options)))
    demo.main(["--model", str(demo_folder), "--port", "7999"])
    demo.main(["--model", str(demo_folder), "--share", "true"])
    assert [options for _, options in served] == [
        {"server_port": 7999, "share": False},
        {"server_port": None, "share": True},
    ]
    assert served[0][0].labels == ["anger", "joy", "sadness", "fear"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no_such_folder"], "error: --model no_such_folder cannot be loaded: "),
        (["--model", "x", "--port", "0"], "error: --port must be in [1, 65535], got 0."),
    ],
)
def test_command_names_bad_input(capfd: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert fails(demo.main, capfd, *arguments).startswith(message)
