# SPDX-License-Identifier: Apache-2.0
"""
The demo in a real browser: typed texts, files, keyboard, both directions, phone and desktop, light and dark.

With `DEMO_SCREENSHOTS=FOLDER` in the environment, the pages are left there as pictures to be looked at.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio.route_utils import delete_files_created_by_app
from served_space import DESKTOP, HOSTILE, PHONE, TEXTS, watched_page

from hub.demo.analysis import MAX_CHARACTERS, EmotionModel

pytest_plugins = ["served_demo", "served_space"]
pytestmark = pytest.mark.slow

Page = Any
OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Any, demo_url: str) -> Iterator[OpenPage]:
    """Opens the app; at the end nothing may have gone wrong in the console or have left this machine."""
    complaints: list[str] = []
    pages: list[Page] = []

    def opened(viewport: dict[str, int] = DESKTOP, scheme: str = "light") -> Page:
        page = watched_page(browser, demo_url, complaints, viewport, scheme)
        page.goto(demo_url)
        page.wait_for_selector("#se-input textarea")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert complaints == []


def classify(page: Page, text: str) -> None:
    page.fill("#se-input textarea", text)
    page.click("#se-submit")
    page.wait_for_selector("#se-result .se-verdict")


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("DEMO_SCREENSHOTS"):
        # The button is not to be shown as it is under the mouse.
        page.mouse.move(0, 0)
        page.wait_for_timeout(700)
        page.screenshot(path=str(Path(folder, f"{name}.png")), full_page=True)


def is_as_wide_as_the_window(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("language", ["en", "ar"])
def test_typed_text_shows_its_emotions(
    open_page: OpenPage, demo_model: EmotionModel, language: str, viewport: dict[str, int], scheme: str
) -> None:
    page = open_page(viewport, scheme)
    text = TEXTS[language]
    classify(page, text)
    (expected,) = demo_model.analyse([text])
    over = [emotion.label for emotion in expected.predicted]
    assert page.locator("#se-result .se-verdict b").all_inner_texts() == over
    assert page.locator("#se-result .se-over > :first-child").all_inner_texts() == over
    assert page.locator("#se-result .se-bar").count() == 4
    assert page.locator("#se-result .se-limit").count() == 4
    track = page.locator("#se-result .se-track").first.bounding_box()
    fill = page.locator("#se-result .se-fill").first.bounding_box()
    best = max(expected.predicted or expected.emotions, key=lambda emotion: emotion.score)
    assert fill["width"] / track["width"] == pytest.approx(best.score, abs=0.01)
    assert page.locator("#se-result .se-text").inner_text() == text
    assert page.locator("#se-result .se-text mark").count() == len(expected.words)
    # Each label has the words once more; those of the first are unfolded.
    assert page.locator("#se-result .se-why mark:visible").count() == len(expected.words)
    assert page.locator(".se-weights thead th").all_inner_texts() == ["word", *demo_model.encoders]
    assert page.locator(".se-weights tbody tr").count() == len(expected.words)
    assert is_as_wide_as_the_window(page)
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    picture(page, f"{language}_{viewport['width']}_{scheme}")


@pytest.mark.parametrize(("language", "direction"), [("en", "ltr"), ("ar", "rtl")])
def test_text_runs_in_its_own_direction(open_page: OpenPage, language: str, direction: str) -> None:
    page = open_page()
    classify(page, TEXTS[language])
    shown = page.locator("#se-result .se-text")
    assert shown.evaluate("element => getComputedStyle(element).direction") == direction
    # Of two words in a row, the second is on the left where the text runs to the left.
    first, second = [shown.locator("mark").nth(place).bounding_box()["x"] for place in (0, 1)]
    assert (second < first) == (direction == "rtl")
    rows = page.locator(".se-weights tbody th")
    assert rows.first.evaluate("element => getComputedStyle(element).direction") == direction
    # Of the input itself the style sheet decides, by its first letter.
    assert page.locator("#se-input textarea").evaluate("box => getComputedStyle(box).unicodeBidi") == "plaintext"


def test_result_is_between_text_and_examples_on_a_phone_and_beside_them_on_a_desktop(open_page: OpenPage) -> None:
    places = {}
    for name, viewport in (("phone", PHONE), ("desktop", DESKTOP)):
        page = open_page(viewport)
        places[name] = [page.locator(part).bounding_box() for part in ("#se-input", "#se-result", "#se-examples")]
        picture(page, f"start_{viewport['width']}")
    text, result, examples = places["phone"]
    assert text["y"] < result["y"] < examples["y"]
    assert max(box["x"] + box["width"] for box in places["phone"]) <= PHONE["width"]
    text, result, examples = places["desktop"]
    assert text["x"] + text["width"] <= result["x"]
    assert text["y"] < examples["y"]
    assert examples["x"] == pytest.approx(text["x"], abs=2)


def test_hostile_text_is_only_text(open_page: OpenPage) -> None:
    page = open_page()
    classify(page, HOSTILE)
    assert page.locator("#se-result .se-text").inner_text() == HOSTILE
    assert page.locator("#se-result img, #se-result script").count() == 0


def test_example_fills_the_text_and_is_classified(open_page: OpenPage) -> None:
    page = open_page(PHONE)
    page.get_by_role("button", name="ادعولي").click()
    page.wait_for_selector("#se-result .se-verdict")
    text = page.locator("#se-input textarea").input_value()
    assert text == "خايف كتير من العملية بكرا، ادعولي"
    assert page.locator("#se-result .se-text").inner_text() == text


def test_keyboard_is_enough(open_page: OpenPage) -> None:
    page = open_page()
    page.locator("#se-input textarea").focus()
    page.keyboard.type("so happy")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Find emotions"
    page.keyboard.press("Enter")
    page.wait_for_selector("#se-result .se-verdict")
    assert page.locator("#se-result .se-text").inner_text() == "so happy"
    page.locator("#se-input textarea").focus()
    page.keyboard.type(" today")
    page.keyboard.press("Shift+Enter")
    page.wait_for_function("document.querySelector('#se-result .se-text').innerText.includes('today')")
    page.get_by_role("tab", name="Text").focus()
    page.keyboard.press("Tab")
    focused = page.get_by_role("tab", name="File")
    assert focused.evaluate("tab => tab === document.activeElement")
    assert focused.evaluate("tab => getComputedStyle(tab).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#se-classify", state="visible")


@pytest.mark.parametrize("text", ["", "  "])
def test_empty_text_is_one_clear_message(open_page: OpenPage, text: str) -> None:
    page = open_page(PHONE)
    classify(page, "so happy")
    page.fill("#se-input textarea", text)
    page.click("#se-submit")
    message = page.locator("#se-result [role=alert]")
    message.wait_for()
    assert message.inner_text() == "The text is empty: type or paste a sentence."
    assert page.locator("#se-result .se-bar").count() == 0
    picture(page, "empty_text_390")


def test_too_long_text_cannot_be_typed(open_page: OpenPage) -> None:
    page = open_page()
    assert page.get_attribute("#se-input textarea", "maxlength") == str(MAX_CHARACTERS)


def upload(page: Page, path: Path) -> None:
    page.get_by_role("tab", name="File").click()
    page.set_input_files("#se-file input[type=file]", str(path))
    page.locator("#se-file").get_by_text(path.stem).first.wait_for()


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_file_goes_in_and_results_come_out(
    open_page: OpenPage, demo_model: EmotionModel, tmp_path: Path, viewport: dict[str, int]
) -> None:
    texts = [TEXTS["en"], "", "=1+1 so sad", TEXTS["ar"]]
    with (tmp_path / "mine.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *([index, text] for index, text in enumerate(texts))])
    page = open_page(viewport)
    upload(page, tmp_path / "mine.csv")
    page.click("#se-classify")
    page.wait_for_selector("#se-summary .se-verdict")
    assert page.locator("#se-summary .se-verdict").inner_text() == "4 texts in column “text”, 1 blank"
    assert is_as_wide_as_the_window(page)
    picture(page, f"file_{viewport['width']}")
    with page.expect_download() as download:
        page.click("#se-download")
    assert download.value.suggested_filename == "mine_emotions.csv"
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["text", "predicted_labels", *demo_model.labels]
    assert [row[0] for row in rows] == [TEXTS["en"], "", "'=1+1 so sad", TEXTS["ar"]]
    assert rows.pop(1) == [""] * 6
    for row, expected in zip(rows, demo_model.analyse([text for text in texts if text]), strict=True):
        assert row[1] == "|".join(emotion.label for emotion in expected.predicted)
        scores = [emotion.score for emotion in expected.emotions]
        np.testing.assert_allclose([float(cell) for cell in row[2:]], scores, atol=1e-5)


def test_files_are_deleted_in_time(open_page: OpenPage, demo_server: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("so sad\n", encoding="utf-8")
    page = open_page()
    upload(page, tmp_path / "secret.txt")
    page.click("#se-classify")
    page.wait_for_selector("#se-summary .se-verdict")
    kept = Path(os.environ["GRADIO_TEMP_DIR"])
    assert {path.name for path in kept.rglob("secret*")} == {"secret.txt", "secret_emotions.csv"}
    # What the app does once an hour with files older than an hour, here with all of them.
    delete_files_created_by_app(demo_server, None)
    assert list(kept.rglob("secret*")) == []


def test_bad_file_is_one_clear_message_and_no_download(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(PHONE)
    page.get_by_role("tab", name="File").click()
    page.click("#se-classify")
    message = page.locator("#se-summary [role=alert]")
    message.wait_for()
    assert message.inner_text() == "There is no file yet: choose a .csv or .txt file."
    (tmp_path / "latin.txt").write_bytes("café\n".encode("latin-1"))
    upload(page, tmp_path / "latin.txt")
    page.click("#se-classify")
    page.locator("#se-summary").get_by_text("not UTF-8").wait_for()
    assert page.locator("#se-summary [role=alert]").count() == 1
    assert page.locator("#se-download").is_disabled()
    picture(page, "bad_file_390")


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_heat_map(open_page: OpenPage, viewport: dict[str, int]) -> None:
    page = open_page(viewport)
    page.get_by_role("tab", name="Label correlation").click()
    page.wait_for_selector(".se-heat", state="visible")
    assert page.locator(".se-heat tbody td").count() == 16
    assert page.locator(".se-heat .se-self").count() == 4
    assert page.locator(".se-pairs li").count() == 6
    colours = page.locator(".se-heat td[title]").evaluate_all(
        "cells => new Set(cells.map(cell => getComputedStyle(cell).backgroundColor)).size"
    )
    assert colours > 3
    assert is_as_wide_as_the_window(page)
    picture(page, f"heat_map_{viewport['width']}")
