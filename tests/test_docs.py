# SPDX-License-Identifier: Apache-2.0
"""Tests of README and docs: commands, files and links that exist, Python that runs, data that are read as shown."""

from __future__ import annotations

import csv
import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import CORPUS
from recipe_samples import LABELS, make_rows
from transformers import BertConfig, BertForSequenceClassification

from trainer_ext import load_emotion_data
from trainer_ext.encoders.scratch import ScratchEncoder
from trainer_ext.encoders.source import BuildContext

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Besides: cards and their templates, the statement of the embedded texts, notebooks.
LINKED = [
    *(*PAGES, ROOT / "CHANGELOG.md", ROOT / "scripts" / "data" / "README.md"),
    *sorted((ROOT / "hub").rglob("*.md")),
    *sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")),
]
README = PAGES[0].read_text(encoding="utf-8")
DATA = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
REMEDIES = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
COMMANDS = {path.stem for path in (ROOT / "scripts").glob("[a-z]*.py")}
BERT = "google-bert/bert-base-uncased"


def anchor(heading: str) -> str:
    """As the Hub and GitHub make it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def markdown(page: Path) -> str:
    """The text of a page or notebook without its code; what a template fills in is an `x`."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", re.sub(r"\{\{.*?\}\}", "x", text), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)]*)\)", re.sub(r"`[^`\n]*`", "", markdown(page)))


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        name, _, heading = link.partition("#")
        # The figures of a card lie beside it when it is filled in.
        if ":" in name or (page.name == "card_template.md" and name.endswith(".png")):
            continue
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", markdown(target), flags=re.MULTILINE)
            assert heading in map(anchor, titles), link


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_elsewhere_are_well_formed(page: Path) -> None:
    for link in links(page):
        assert ":" not in link or re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/[^\s<>]*)?", link), link


def test_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "[a](b.md#c) ![d](e.png)\n[`f`](https://g.org/{{ h i }}) `x[0](y)`\n```python\nx[0](y)\n```\n[z](a b)"
    )
    assert links(tmp_path / "page.md") == ["b.md#c", "e.png", "https://g.org/x", "a b"]
    assert sum(len(links(page)) for page in LINKED) > 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"python -m scripts\.(\w+)", text)) <= COMMANDS
    for name in re.findall(r"scripts/(?:recipes|comparisons|datasets|accelerate)/\w+\.yaml", text):
        assert (ROOT / name).exists(), name


def test_readme_is_short_and_names_every_folder() -> None:
    assert len(README.splitlines()) <= 200
    assert set(re.findall(r"python -m scripts\.(\w+)", README)) >= {"quickstart", "train", "predict", "push_to_hub"}
    folders = re.findall(r"^\| `([\w/]+/)` \|", README, flags=re.MULTILINE)
    assert all((ROOT / folder).is_dir() for folder in folders)
    rooms = {f"trainer_ext/{path.parent.name}/" for path in (ROOT / "trainer_ext").glob("*/__init__.py")}
    assert rooms <= set(folders)


def test_a_stock_classifier_is_trained_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, flags=re.S) if BERT in block]
    for file, seed in (("train.csv", 0), ("dev.csv", 1)):
        with (tmp_path / file).open("w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(["text", *LABELS])
            rows.writerows(
                [row["text"], *(int(label in row["labels"]) for label in LABELS)] for row in make_rows(40, seed)
            )
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder = ScratchEncoder("bert", "wordpiece", 200, **size).build(BuildContext(CORPUS, tmp_path / BERT))
    BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=len(LABELS))).save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    (*_, checkpoint) = sorted((tmp_path / "outputs" / "bert").glob("checkpoint-*"))
    trained = BertForSequenceClassification.from_pretrained(checkpoint)
    assert trained.config.id2label == dict(enumerate(LABELS))
    assert len(set(trained.config.class_weights)) > 1


LAYOUTS = re.findall(r"```(csv|jsonl)(?: (\w+)=([\w,]+))?\n(.*?)```\n\nReads as: (.*?)\.\n", DATA, flags=re.S)


@pytest.mark.parametrize(("ending", "field", "value", "content", "meaning"), LAYOUTS)
def test_layouts_are_read_as_shown(
    tmp_path: Path, ending: str, field: str, value: str, content: str, meaning: str
) -> None:
    file = tmp_path / f"train.{ending}"
    file.write_text(content, encoding="utf-8")
    values = {"label_names": value.split(","), "max_intensity": float(value) if value.isdigit() else None}
    options: dict[str, Any] = {field: values.get(field, value)} if field else {}
    with warnings.catch_warnings():
        # Rows that are left out are warned of.
        warnings.simplefilter("ignore", UserWarning)
        data = load_emotion_data(train_file=file, **options)
    rows = []
    for text, labels in zip(data.splits["train"]["text"], data.splits["train"]["labels"], strict=True):
        own = [name + shown(value) for name, value in zip(data.label_names, labels, strict=True) if value != 0]
        rows.append(f"*{text}* {', '.join(own) or 'no label'}")
    assert "; ".join(rows) == " ".join(meaning.split())


def shown(target: float) -> str:
    if math.isnan(target):
        return " unknown"
    return "" if target == 1 else f" {round(target, 2):g}"


def test_all_layouts_are_tested() -> None:
    assert len(LAYOUTS) == DATA.count("Reads as:") == 14


ERRORS = {
    "train.csv, row 3, column 'joy'": "text,joy,love\na,1,0\nb,2,1\n",
    "train.csv, row 2, column 'score'": "text,joy,score\na,1,0.5\nb,0,0.7\n",
    "train.csv, row 1: no labels": "text,user\na,b\n",
    "train.csv, row 1: no text column": "words,joy\na,1\n",
    "train.csv, row 1, column 'labels'": "text,labels,joy\na,joy,1\n",
    "train.csv, row 2, column 'labels': has label ids": 'text,labels\na,3\nb,"1,2"\n',
    "train.csv, row 2, column 'labels': expected a list": 'text,labels\na,"[\'joy"\n',
    "train.csv, row 3, column 'labels': expected one separator": 'text,labels\na,"joy,fear"\nb,joy; love\n',
    "train.csv, row 2, column 'joy': expected yes": "text,joy\na,maybe\nb,no\n",
    "train.json: expected a JSON array": '[{"text": "a", "joy": 1}, 5]',
    "train.csv, row 1, column 'joy': the column": "text,joy,joy\na,1,0\n",
    "train.csv, row 2: expected 3 fields": "text,joy,love\na,1\n",
    "train.jsonl, row 2": '{"text": "a", "labels": []}\n{"text" "b"}\n',
    "train.xlsx": "PK",
    "train.csv, row 1: has a header": "text,joy\n",
}


@pytest.mark.parametrize("place", ERRORS)
def test_errors_are_those_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (message,) = [
        shown for shown in re.findall(r"^\| `(.+?)` \|", REMEDIES, flags=re.MULTILINE) if shown.startswith(place)
    ]
    monkeypatch.chdir(tmp_path)
    file = Path(place.partition(",")[0].partition(":")[0])
    file.write_text(ERRORS[place], encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        load_emotion_data(train_file=str(file))


def test_citation_and_version_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert citation["version"] == version[1]
