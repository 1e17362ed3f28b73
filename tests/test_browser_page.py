# SPDX-License-Identifier: Apache-2.0
"""
The model in a real browser: the same tokens, words and probabilities as in Python, and a page for everyone.

With `DEMO_SCREENSHOTS=FOLDER` in the environment, the pages are left there as pictures to be looked at.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served_space import DESKTOP, HOSTILE, PHONE, TEXTS, watched_page

from hub.browser.npm import AXE, cached_archive, read_files
from hub.model.mini import MINI_MODEL
from hub.model.onnx_example import OnnxClassifier
from scripts.benchmarks.browser import serving

pytest_plugins = ["served_space"]
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
HARD_TEXTS: list[str] = json.loads((ROOT / "scripts/data/checks/hard_texts.json").read_text(encoding="utf-8"))
# Tokens and words by the modules of the page, probabilities by its worker.
ANSWERS = """
async (texts) => {
  const { TextEncoder } = await import("./encoding.js");
  const read = async (name) => (await fetch(name)).json();
  const space = await read("space.json");
  const settings = await read("model/tokenizer_config.json");
  const tokenizers = {};
  for (const name of settings.encoders) tokenizers[name] = await read(`model/${name}_tokenizer/tokenizer.json`);
  const encoder = new TextEncoder(settings, tokenizers, await read("tables.json"));
  const worker = new Worker("worker.js", { type: "module" });
  const told = (isWanted) => new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.error !== undefined) reject(new Error(data.error));
      else if (isWanted(data)) resolve(data);
    };
  });
  const ready = told(({ labels }) => labels);
  worker.postMessage({ space });
  await ready;
  const answers = [];
  for (const text of texts) {
    const answered = told(({ answer }) => answer);
    worker.postMessage({ id: 0, text });
    const { answer } = await answered;
    const { words, rows, isCut } = encoder.encode(text);
    const scores = answer.emotions.map(({ score }) => score);
    answers.push({ words, rows, isCut, scores, parts: answer.words.map(({ parts }) => [...parts]) });
  }
  worker.terminate();
  return answers;
}
"""

Page = Any
OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """Opens a Space; at the end nothing may have gone wrong in the console, or have been asked of another host."""
    complaints: list[str] = []
    asked: list[str] = []
    pages: list[Page] = []

    def opened(url: str, viewport: dict[str, int] = DESKTOP, scheme: str = "light") -> Page:
        page = watched_page(browser, url, complaints, viewport, scheme)
        page.context.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.wait_for_selector("#loading", state="hidden")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert complaints == []
    # Those of the worker are seen, too.
    assert any(url.endswith("/model/model.safetensors") for url in asked)


def classify(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.wait_for_function("text => document.querySelector('#words').textContent === text", arg=text)


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("DEMO_SCREENSHOTS"):
        page.mouse.move(0, 0)
        page.screenshot(path=str(Path(folder, f"{name}.png")), full_page=True)


def hindrances(page: Page) -> list[str]:
    """Rules of axe-core that the page breaks."""
    if not cached_archive(AXE).is_file():
        pytest.skip(f"needs {AXE.name} {AXE.version}: python -m hub.browser.npm")
    # By the protocol of the debugger, which the page's policy does not bind.
    page.evaluate(read_files(AXE, ("axe.min.js",))["axe.min.js"].decode() + "\n;null")
    found = page.evaluate("async () => (await axe.run()).violations.map(({ id, nodes }) => [id, nodes[0].html])")
    return [f"{rule}: {html}" for rule, html in found]


def classifier_of(folder: Path) -> OnnxClassifier:
    code = ROOT / "modeling_stacked_emotion"
    return OnnxClassifier(folder, "model.onnx", code, optimized=False)


def assert_same_answers(page: Page, classifier: OnnxClassifier, texts: list[str]) -> None:
    for text, found in zip(texts, page.evaluate(ANSWERS, texts), strict=True):
        text = classifier.clean(text)
        tokens, (words,) = classifier.tokenize([text])
        assert found["words"] == [list(span) for span in words], ascii(text)
        for name, row in found["rows"].items():
            # One token of padding stands where there is none.
            num_tokens = int(tokens[f"{name}_attention_mask"].sum())
            assert row["ids"] == tokens[f"{name}_input_ids"][0, :num_tokens].tolist(), ascii(text)
            assert row["wordIds"] == tokens[f"{name}_word_ids"][0, :num_tokens].tolist(), ascii(text)
        (answer,) = classifier([text], threshold=0.0, top_words=len(words))
        scores = {emotion["label"]: emotion["score"] for emotion in answer["emotions"]}
        expected = [scores[label] for label in classifier.labels]
        np.testing.assert_allclose(found["scores"], expected, atol=1e-4, rtol=0, err_msg=ascii(text))
        starts = {start: place for place, (start, _) in enumerate(words)}
        for emotion in answer["emotions"]:
            label = classifier.labels.index(emotion["label"])
            parts = np.zeros(len(words))
            for word in emotion["words"]:
                parts[starts[word["start"]]] = word["part"]
            # Python names the words for an emotion, and not those against it.
            own = np.maximum([values[label] for values in found["parts"]], 0)
            np.testing.assert_allclose(own, parts, atol=1e-4, rtol=0, err_msg=ascii(text))


def test_hard_texts_get_the_answers_of_python(open_page: OpenPage, space_url: str) -> None:
    assert len(HARD_TEXTS) == len(set(HARD_TEXTS)) == 500
    assert_same_answers(open_page(space_url), classifier_of(MINI_MODEL), HARD_TEXTS)


def test_another_stack_gets_the_answers_of_python(open_page: OpenPage, tiny_space: Path) -> None:
    with serving(tiny_space) as url:
        assert_same_answers(open_page(url), classifier_of(tiny_space / "model"), HARD_TEXTS)


@pytest.mark.parametrize(
    ("viewport", "scheme", "language"),
    [(PHONE, "light", "ar"), (PHONE, "dark", "en"), (DESKTOP, "light", "en"), (DESKTOP, "dark", "ar")],
    ids=["phone_light", "phone_dark", "desktop_light", "desktop_dark"],
)
def test_typed_text_shows_its_emotions(
    open_page: OpenPage, space_url: str, viewport: dict[str, int], scheme: str, language: str
) -> None:
    page = open_page(space_url, viewport, scheme)
    picture(page, f"start_{viewport['width']}_{scheme}")
    assert hindrances(page) == []
    text = TEXTS[language]
    classify(page, text)
    classifier = classifier_of(MINI_MODEL)
    (expected,) = classifier([text], top_words=99)
    over = [emotion["label"] for emotion in expected["emotions"]]
    assert page.locator("#verdict b").all_inner_texts() == over
    assert page.locator("#bars .over button > :first-child").all_inner_texts() == over
    assert page.locator("#words mark").count() == len(classifier.tokenize([text])[1][0])
    # The words for the best emotion first, then for the one that is chosen.
    first, other = [page.locator("#bars button").nth(place) for place in (0, 1)]
    best = expected["emotions"][0]
    strongest = page.locator("#words mark[style*='--share: 1.000']")
    assert strongest.inner_text() == best["words"][0]["word"]
    assert strongest.get_attribute("title") == f"+{best['words'][0]['part']:.2f}"
    assert page.locator("#words-title").inner_text() == f"Words for {best['label']}"
    assert (first.get_attribute("aria-pressed"), other.get_attribute("aria-pressed")) == ("true", "false")
    other.click()
    assert page.locator("#words-title").inner_text() == f"Words for {other.get_attribute('data-label')}"
    assert (first.get_attribute("aria-pressed"), other.get_attribute("aria-pressed")) == ("false", "true")
    direction = "rtl" if language == "ar" else "ltr"
    for part in ("#text", "#words"):
        assert page.locator(part).evaluate("element => getComputedStyle(element).direction") == direction
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    picture(page, f"{language}_{viewport['width']}_{scheme}")
    page.click("summary")
    assert hindrances(page) == []
    places = [page.locator(part).bounding_box() for part in ("#input", "#result", "#examples")]
    if viewport is PHONE:
        assert places[0]["y"] < places[1]["y"] < places[2]["y"]
    else:
        assert places[0]["x"] + places[0]["width"] <= places[1]["x"]


def test_keyboard_is_enough(open_page: OpenPage, space_url: str) -> None:
    page = open_page(space_url)
    page.locator("#text").focus()
    page.keyboard.type("so happy")
    page.wait_for_function("() => document.querySelector('#words').textContent === 'so happy'")
    focused = []
    for _ in range(11):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.tagName"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    # The emotions, the rest of them, and two examples.
    assert focused == [*["BUTTON"] * 8, "SUMMARY", "BUTTON", "BUTTON"]
    example = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.wait_for_function("text => document.querySelector('#words').textContent === text", arg=example)
    page.fill("#text", " ")
    page.wait_for_selector("#details", state="hidden")
    assert page.locator("#verdict").inner_text() == "The emotions of your text appear here."


def test_hostile_text_is_only_text(open_page: OpenPage, space_url: str) -> None:
    page = open_page(space_url)
    classify(page, HOSTILE)
    assert page.locator("#words").inner_text() == HOSTILE
    assert page.locator("#result img, #result script").count() == 0


def test_page_may_ask_no_other_host(browser: Any, space_url: str) -> None:
    page = browser.new_page()
    page.goto(space_url)
    refused = page.evaluate("fetch('http://localhost:9/').then(() => 'sent', (error) => error.message)")
    assert refused == "Failed to fetch"
    # Later, since code of the debugger itself may do so.
    code = "new Promise((done) => setTimeout(() => { try { eval('1'); done('ran'); } catch { done('refused'); } }))"
    assert page.evaluate(code) == "refused"
    page.close()


def test_file_goes_in_and_results_come_out(open_page: OpenPage, space_url: str, tmp_path: Path) -> None:
    texts = [TEXTS["en"], "", '=1+1 so "sad", isn’t it', f"{TEXTS['ar']}\nso"]
    with (tmp_path / "mine.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "Text"], *([index, text] for index, text in enumerate(texts))])
    page = open_page(space_url, PHONE)
    page.set_input_files("#file", str(tmp_path / "mine.csv"))
    page.click("#classify")
    page.wait_for_selector("#download", state="visible")
    assert page.locator("#file-message").inner_text().startswith("4 texts, 1 blank; ")
    assert hindrances(page) == []
    picture(page, "file_390")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "mine_emotions.csv"
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    classifier = classifier_of(MINI_MODEL)
    assert header == ["text", "predicted_labels", *classifier.labels]
    assert [row[0] for row in rows] == [texts[0], "", f"'{texts[2]}", texts[3]]
    assert rows.pop(1)[1:] == [""] * (1 + len(classifier.labels))
    for row, text in zip(rows, filter(None, texts), strict=True):
        (expected,) = classifier([text])
        assert row[1] == "|".join(emotion["label"] for emotion in expected["emotions"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "café\n".encode("latin-1"), "“a.txt” is not UTF-8 text"),
        ("a.pdf", b"x", "Expected a .csv or .txt file, got “a.pdf”."),
        ("a.csv", b"id,mood\n1,x\n", "“a.csv” has no column of texts"),
        ("a.csv", b'text,n\n"open,1\n', "“a.csv”, line 2 is no valid CSV"),
        ("a.csv", b"text\n", "“a.csv” holds no text"),
        ("a.txt", b"\n \n", "“a.txt” holds no text."),
    ],
)
def test_bad_file_is_one_clear_message(
    browser: Any, space_url: str, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    page = browser.new_page()
    page.goto(f"{space_url}README.md")
    page.set_content("<input id='file' type='file'>")
    page.set_input_files("#file", str(tmp_path / name))
    said = page.evaluate(
        "async (url) => { const { readTexts } = await import(`${url}files.js`);"
        " return readTexts(document.querySelector('#file').files[0]).then(String, (error) => error.message); }",
        space_url,
    )
    assert said.startswith(message)
    page.close()
