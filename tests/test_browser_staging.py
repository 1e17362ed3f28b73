# SPDX-License-Identifier: Apache-2.0
"""The files of the Space for the browser, its tables, and the npm packages that they need."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
import regex
from conftest import LABELS, contents, fails
from tokenizers import normalizers

from hub.browser import npm, staging
from hub.browser.npm import NpmPackage, fetch, read_files
from hub.browser.staging import COMPONENTS, PAGE, browser_problem, stage_browser
from hub.browser.tables import character_classes, html_entities
from hub.model.mini import MINI_MODEL
from hub.validation.validate import file_problems
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from scripts import push_to_hub
from scripts.benchmarks.browser import serving
from trainer_ext.errors import InputError

NAMES = {"repo_id": "ann/emotions-browser", "model_id": "ann/emotions"}


# ------------------------------------------------------------------------------------------------ the staged folder


@pytest.fixture
def without_npm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "read_files", lambda package, names: dict.fromkeys(names, package.name.encode()))


@pytest.mark.slow
def test_files(without_npm: None, tmp_path: Path) -> None:
    stage_browser(MINI_MODEL, tmp_path, **NAMES, model_revision="v1.0.0")
    files = contents(tmp_path)
    encoders = json.loads(files["model/config.json"])["encoders"]
    model = ("config.json", "model.onnx", "model.safetensors", "tokenizer_config.json")
    model += tuple(f"{name}_tokenizer/tokenizer.json" for name in encoders)
    vendor = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm", "tokenizers.min.mjs", "tokenizers.LICENSE")
    assert set(files) == {
        *("README.md", "space.json", "tables.json", *PAGE),
        *(f"model/{name}" for name in model),
        *(f"vendor/{name}" for name in vendor),
    }
    for name in model:
        assert files[f"model/{name}"] == (MINI_MODEL / name).read_bytes()
    space = json.loads(files["space.json"])
    assert space["model_id"] == "ann/emotions"
    assert {name: len(files[name]) for name in space["files"]} == space["files"]
    assert len(space["examples"]) == 6
    assert json.loads(files["tables.json"])["entities"] is None
    card = files["README.md"].decode()
    assert "sdk: static" in card
    assert "[ann/emotions](https://huggingface.co/ann/emotions), revision `v1.0.0`, runs in this page" in card
    assert "onnxruntime-web) 1.30.0" in card
    assert file_problems(tmp_path, "browser") == []


@pytest.mark.slow
def test_graph_of_other_weights_is_made_anew(
    without_npm: None,
    encoder_folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    encoders = {"bert_wp": encoder_folders["bert_wp"]}
    source, folder = tmp_path / "source", tmp_path / "space"
    StackedEmotionForSequenceClassification.from_encoders(encoders, id2label=LABELS).save_pretrained(source)
    StackedEmotionTokenizer.from_encoders(encoders, {"bert_wp": "arabert"}).save_pretrained(source)
    shutil.copyfile(MINI_MODEL / "model.onnx", source / "model.onnx")
    folder.mkdir()
    stage_browser(source, folder, **NAMES)
    graph = (folder / "model" / "model.onnx").read_bytes()
    assert staging.fingerprint(source).encode() in graph
    assert graph != (source / "model.onnx").read_bytes()
    assert json.loads((folder / "tables.json").read_text())["entities"]["names"]["amp;"] == "&"


def copy_of_model(folder: Path) -> Path:
    """The model that comes along, without its weights."""
    folder.mkdir()
    for path in MINI_MODEL.rglob("*.json"):
        target = folder / path.relative_to(MINI_MODEL)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    (folder / "model.safetensors").touch()
    return folder


def edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


def test_models_that_run_in_no_browser(tmp_path: Path) -> None:
    folder = copy_of_model(tmp_path / "model")
    assert browser_problem(folder) is None
    (name, *_) = json.loads((folder / "tokenizer_config.json").read_text())["encoders"]
    path = folder / f"{name}_tokenizer" / "tokenizer.json"
    edit(path, pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "UnicodeScripts"}]})
    expected = f"the tokenizer of '{name}' has a pre_tokenizer that the page does not have, UnicodeScripts."
    assert browser_problem(folder) == f"{folder} cannot run in a browser: {expected}"
    path.unlink()
    assert f"its encoder '{name}' has no fast tokenizer." in str(browser_problem(folder))
    (folder / "model.safetensors").unlink()
    assert "it has no model.safetensors" in str(browser_problem(folder))
    edit(folder / "config.json", model_type="bert")
    assert "it is a bert, and no stacked model" in str(browser_problem(folder))


def test_command_refuses_them_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy_of_model(tmp_path / "model")
    edit(folder / "config.json", model_type="bert")
    options = ["browser", "--model", folder, "--model_id", "ann/emotions", "--repo_id", "ann/page"]
    options += ["--dry_run", "--staging_dir", tmp_path / "staged"]
    assert "it is a bert, and no stacked model" in fails(push_to_hub.main, capsys, *options)


def test_components_are_those_of_the_page() -> None:
    code = (staging.HERE / "tokenizer.js").read_text(encoding="utf-8")
    tables = {"normalizer": "NORMALIZERS", "pre_tokenizer": "PRE_TOKENIZERS", "post_processor": "POST_PROCESSORS"}
    for kind, table in (tables | {"model": "MODELS"}).items():
        (body,) = re.findall(rf"^const {table} = \{{\n(.*?)^\}};", code, flags=re.MULTILINE | re.DOTALL)
        assert set(re.findall(r"^  (\w+):", body, flags=re.MULTILINE)) == COMPONENTS[kind]


def test_page_puts_in_text_only() -> None:
    for name in PAGE:
        code = (staging.HERE / name).read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", code), name
        assert not re.search(r"\bon\w+=|<style|style=", code), name
        hosts = set(re.findall(r"https?://[\w.]+", code))
        assert hosts <= {"https://huggingface.co"}, name


# ---------------------------------------------------------------------------------------------------------- tables


@pytest.mark.slow
def test_character_classes() -> None:
    classes = {
        name: regex.compile(re.sub(r"\\u\{(\w+)\}", _escape, text)) for name, text in character_classes().items()
    }
    clean = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False
    )
    for char in map(chr, [*range(0x3100), 0xFFFD, 0xE000, 0x1F600, 0xE0041]):
        assert bool(classes["removed"].fullmatch(char)) == (not clean.normalize_str(char)), ascii(char)
    assert all(map(classes["marks"].fullmatch, "\u0301\u064b\u093c"))
    assert not any(map(classes["marks"].fullmatch, "aé☃中"))
    assert all(map(classes["punctuation"].fullmatch, "!$+@`~،؟。…"))
    assert not any(map(classes["punctuation"].fullmatch, "a1 €😂\u0301"))


def _escape(match: re.Match[str]) -> str:
    return rf"\U{int(match[1], 16):08x}"


def test_entities() -> None:
    entities = html_entities()
    for number in (0, 9, 13, 31, 65, 128, 150, 173, 0xFDD0, 0x1FFFF, 0x1F600):
        assert entities["numbers"].get(number, chr(number)) == html.unescape(f"&#{number};"), number
    assert entities["names"]["eacute;"] == "é"


# --------------------------------------------------------------------------------------------------------- packages


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NpmPackage:
    """A package whose archive lies in the folder `registry`; the cache is empty."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/dist/a.mjs")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"let a"))
    integrity = base64.b64encode(hashlib.sha512(content.getvalue()).digest()).decode()
    made = NpmPackage("@ann/words", "1.2.3", integrity)
    path = tmp_path / "registry" / "@ann" / "words" / "-" / "words-1.2.3.tgz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content.getvalue())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made


def test_package_is_fetched_once(package: NpmPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path / "registry") as url:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", url)
        assert read_files(package, ("dist/a.mjs",)) == {"dist/a.mjs": b"let a"}
    # The registry is gone.
    assert read_files(package, ("dist/a.mjs",)) == {"dist/a.mjs": b"let a"}


def test_another_archive_is_refused(package: NpmPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = package._replace(integrity="other")
    with serving(tmp_path / "registry") as url:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", url)
        with pytest.raises(InputError, match=r"words-1.2.3.tgz is not @ann/words 1.2.3: its SHA-512 is "):
            fetch(other)
    assert not npm.cached_archive(package).exists()


def test_no_network_is_one_clear_line(package: NpmPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"^@ann/words 1.2.3, .*cannot be fetched from http://127.0.0.1:9/@ann/words"):
        fetch(package)


def test_registry_is_the_public_one(package: NpmPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def urlopen(address: str, **_: Any) -> Any:
        asked.append(address)
        raise OSError("no network")

    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.setattr(npm.urllib.request, "urlopen", urlopen)
    with pytest.raises(InputError, match="no network"):
        fetch(package)
    assert asked == ["https://registry.npmjs.org/@ann/words/-/words-1.2.3.tgz"]
