# SPDX-License-Identifier: Apache-2.0
"""
Emotions of texts, typed or in a file: a Gradio app for any model of the stacked-emotion family.

In a Space its files lie beside each other. The model is named by the environment variables `MODEL_ID` and
`MODEL_REVISION` or by `demo.json`, and may be a folder:

    MODEL_ID=path/to/model python app.py
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

# Read when gradio is imported: nothing is reported to anyone.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from gradio.utils import get_upload_folder

from modeling_stacked_emotion.scripts_stacked_emotion import unfamiliar_script

from ..languages import known_languages
from .analysis import MAX_CHARACTERS, MAX_ROWS, Analysis, EmotionModel, InputError, check_text, check_texts, to_json
from .pages import analysis_html, correlation_page, header_html, message_html, summary_html
from .text_files import TextFile, read_texts, results_csv

HERE = Path(__file__).resolve().parent
MAX_FILE_SIZE = "5mb"
# Once an hour, files older than an hour; the page says so.
DELETE_CACHE = (3600, 3600)
EXAMPLES = {
    "en": (
        "You stayed on the phone with me until the ambulance came. Thank you, thank you, thank you.",
        "Nobody told me the meeting was moved, again, and now I look like a fool in front of the whole board.",
        "Tomorrow I finally get to see the ocean for the first time, I can't sleep!! 🌊",
    ),
    "ar": (
        "الحمد لله نجحت أختي في الامتحان وفرحتنا ما لها حدود 😍",
        "والله تعبت من الكذب، كل يوم وعد جديد وما في شي بيتغير",
        "خايف كتير من العملية بكرا، ادعولي",
    ),
}


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
        `tuple[TextFile, list[Analysis | None], Path]`: The file that was read, the answers, and the file of results,
        which opens in a spreadsheet as it is.
    """
    file = read_texts(path)
    results = iter(model.analyse([text for text in file.texts if text], report))
    analyses = [next(results) if text else None for text in file.texts]
    # In the folder that gradio serves: it deletes the file in time, and makes no copy.
    cache = Path(get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(dir=cache), f"{Path(str(path)).stem}_emotions.csv")
    # With a byte order mark, or spreadsheets garble all but ASCII.
    target.write_text(results_csv(file.texts, analyses, model.labels), encoding="utf-8-sig", newline="")
    return file, analyses, target


def build(model: EmotionModel) -> gr.Blocks:
    """
    The app.

    Its API: `/classify` takes a `text`, `/classify_batch` a list of `texts`; the answers are those of [`to_json`].
    """

    def show(text: str) -> str:
        try:
            return analysis_html(model.analyse([check_text(text)], explain=True)[0], model.encoders)
        except InputError as error:
            return message_html(str(error))

    def show_file(path: str | None, progress: gr.Progress = gr.Progress()) -> tuple[Any, str]:  # noqa: B008
        try:
            file, analyses, target = classify_file(model, path, lambda done, total: progress((done, total)))
        except InputError as error:
            return gr.DownloadButton(value=None, interactive=False), message_html(str(error))
        return gr.DownloadButton(value=target, interactive=True), summary_html(file, analyses, model.labels)

    def classify(text: str) -> dict[str, Any]:
        """Emotions of one text at their thresholds, each with the words for it, and the probability of every label."""
        return _answer(lambda: to_json(model.analyse([check_text(text)])[0]))

    def classify_batch(texts: list[str]) -> list[dict[str, Any]]:
        """The same for a list of texts, none of them blank."""
        return _answer(lambda: [to_json(analysis) for analysis in model.analyse(check_texts(texts))])

    with gr.Blocks(title="Emotions in text", analytics_enabled=False, delete_cache=DELETE_CACHE) as app:
        gr.HTML(header_html(model), apply_default_css=False, js_on_load=None)
        with gr.Tab("Text"):
            _text_tab(show, _examples(model))
        with gr.Tab("File"):
            _file_tab(show_file)
        with gr.Tab("Label correlation"):
            gr.HTML(correlation_page(model), elem_classes="se-page", apply_default_css=False, js_on_load=None)
        gr.api(classify, api_name="classify", concurrency_id="model")
        gr.api(classify_batch, api_name="classify_batch", concurrency_id="model")
    return app


def _examples(model: EmotionModel) -> list[str]:
    """Those in the model's languages; where these are not known, in its scripts."""
    if model.languages is not None:
        return [text for language in known_languages(model.languages, EXAMPLES) for text in EXAMPLES[language]]
    return [text for text in chain(*EXAMPLES.values()) if unfamiliar_script(text, model.scripts) is None]


def _text_tab(show: Callable[[str], str], examples: Sequence[str]) -> None:
    # The style sheet puts the result beside the others on wide screens and between them on narrow ones.
    with gr.Column(elem_id="se-text-tab"):
        with gr.Column(elem_classes="se-area-input"):
            text = gr.Textbox(
                label="Text",
                placeholder="Write here … / اكتب هنا" if set(EXAMPLES["ar"]) & set(examples) else "Write here …",
                lines=4,
                max_lines=12,
                max_length=MAX_CHARACTERS,
                elem_id="se-input",
            )
            button = gr.Button("Find emotions", variant="primary", elem_id="se-submit")
        with gr.Column(elem_classes="se-area-result"):
            result = _output("se-result", "The emotions of your text appear here.")
        if examples:
            with gr.Column(elem_classes="se-area-examples"):
                shown = gr.Examples(
                    [[example] for example in examples], [text], label="Examples", elem_id="se-examples"
                )
    options: dict[str, Any] = {"concurrency_id": "model", "scroll_to_output": True, "api_visibility": "private"}
    gr.on([button.click, text.submit], show, text, result, **options)
    if examples:
        shown.load_input_event.then(show, text, result, **options)


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
        The result of gradio's `launch`: server, local URL, shared URL.
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
