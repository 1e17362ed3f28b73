# SPDX-License-Identifier: Apache-2.0
"""The command: what it stages, refuses, plans and publishes; only the slow tests stage and validate for real."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from conftest import contents, fails
from hub_client import (
    READ_TOKEN,
    STOCK_AND_CUSTOM,
    TOKEN,
    WRONG_TOKEN,
    run_command,
    run_stranger,
    write_folder,
)
from hub_server import Fault, HubServer
from huggingface_hub import HfApi
from trained_model import Trained
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hub.model.folder import write_model_folder
from hub.publish import publish
from hub.staging import check_repo_id
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from scripts import push_to_hub
from trainer_ext.evaluation.engine import prepare

pytest_plugins = ["hub_client", "trained_model"]

ALL = ["all", "--model", "trained", "--dataset", "balanced", "--namespace", "user"]
MODEL = ["model", "--model", "trained", "--repo_id", "user/repo"]
KEPT = {".gitattributes"}


class Played:
    """The calls of the staging functions, the languages they say, and the problems that the validation finds."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.languages = ["en"]
        self.browser_problem: str | None = None
        self.validated: list[tuple[str, str]] = []

    @contextmanager
    def staged(self, target: Path) -> Iterator[Path]:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        yield target

    def stage(self, kind: str, folder: Path, **options: Any) -> None:
        self.calls.append({"kind": kind, **options})
        assert not list(folder.iterdir())
        folder.rmdir()
        write_folder(folder)
        (folder / "kind.txt").write_text(f"{kind} {options['repo_id']}")

    def stage_from(self, kind: str, source: Path, folder: Path, **options: Any) -> list[str]:
        self.stage(kind, folder, source=source.name, **options)
        return self.languages

    def validate(self, folder: Path, kind: str, *, repo_id: str) -> list[str]:
        self.validated.append((kind, repo_id))
        assert (folder / "kind.txt").read_text() == f"{kind} {repo_id}"
        return self.problems


@pytest.fixture
def played(hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Played:
    play = Played()
    modules: dict[str, dict[str, Any]] = {
        "hub.staging": {"staged": play.staged, "check_repo_id": check_repo_id},
        "hub.validation.validate": {"validate": play.validate},
        "hub.model.staging": {"stage_model": lambda *a, **k: play.stage_from("model", *a, **k)},
        "hub.dataset.staging": {"stage_dataset": lambda *a, **k: play.stage_from("dataset", *a, **k)},
        "hub.metric.staging": {"stage_metric": lambda *a, **k: play.stage("metric", *a, **k)},
        "hub.demo.staging": {"stage_demo": lambda *a, **k: play.stage("demo", *a, **k)},
        "hub.browser.staging": {
            "stage_browser": lambda *a, **k: play.stage_from("browser", *a, **k),
            "browser_problem": lambda source: play.browser_problem,
        },
    }
    for name, functions in modules.items():
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**functions))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    return play


def test_a_model(hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (made,) = push_to_hub.main(MODEL)

    repo = hub.repo("user/repo")
    assert made.commit == repo.head.oid
    assert repo.files().keys() - KEPT == {
        *("README.md", "config.json", "kind.txt", "model.safetensors", "vectors/words.txt"),
    }
    assert repo.head.title == "Publish"
    assert repo.private
    printed = capsys.readouterr().out
    assert "5 to add, 0 to change, 0 to delete" in printed
    assert f"done: {hub.url}/user/repo/tree/{made.commit}" in printed
    assert TOKEN not in printed
    assert not list(tmp_path.iterdir())


def test_the_same_again(hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (push_to_hub.main([*MODEL, "--tag", "v1.0.0"])[0] for _ in range(2))
    assert first.commit == second.commit
    assert f"no new commit: {hub.url}/user/repo/tree/{first.commit}" in capsys.readouterr().out
    assert hub.repo("user/repo").refs["refs/tags/v1.0.0"] == first.commit
    assert hub.repo("user/repo").head.title == "Publish v1.0.0"


def test_what_a_model_is_staged_with(played: Played) -> None:
    argv = ["--tag", "v1", "--onnx", "--language", "ar", "en", "--license", "mit", "--trained_on", "user/data"]
    push_to_hub.main([*MODEL, *argv, "--encoder", "a=x/y", "--encoder", "b=z", "--sibling", "small"])
    common = {"kind": "model", "revision": "v1", "onnx": True, "language": ["ar", "en"], "license": "mit"}
    common |= {"dataset": "user/data"}
    assert played.calls == [
        {**common, "source": "trained", "repo_id": "user/repo", "encoders": {"a": "x/y", "b": "z"}, "page": None},
        {**common, "source": "small", "repo_id": "user/repo-distilled"},
    ]


def test_english_examples_are_said_to_be_a_guess(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    said = "no language is known of its encoders, and the card's examples are English"
    push_to_hub.main(MODEL)
    assert said not in capsys.readouterr().out
    played.languages = []
    push_to_hub.main(MODEL)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["metric", "--repo_id", "repo"], "`repo_id` must be `owner/name`, got 'repo'."),
        ([*MODEL[:-1], "user/repo/more"], "`repo_id` must be `owner/name`, got 'user/repo/more'."),
        (
            ["demo", "--repo_id", "user/demo", "--model_id", "emotions"],
            "`model_id` must be `owner/name`, got",
        ),
        (["demo", "--repo_id", "user/demo", "--model_id", "user/my model"], "Repo id must use alphanumeric chars"),
    ],
)
def test_a_wrong_name(played: Played, capsys: pytest.CaptureFixture[str], argv: list[str], message: str) -> None:
    assert message in fails(push_to_hub.main, capsys, *argv)
    assert played.calls == []


def test_a_wrong_encoder(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--encoder must be NAME=ID, got a" in fails(push_to_hub.main, capsys, *MODEL, "--encoder", "a")


@pytest.mark.parametrize(
    ("argv", "repo_type", "staged_with"),
    [
        (["dataset", "--dataset", "balanced"], "dataset", {"source": "balanced"}),
        (["metric"], "space", {}),
        (
            ["demo", "--model_id", "user/model", "--model_revision", "v1"],
            "space",
            {"model_id": "user/model", "model_revision": "v1"},
        ),
        (
            ["browser", "--model", "trained", "--model_id", "user/model"],
            "space",
            {"source": "trained", "model_id": "user/model", "model_revision": None},
        ),
    ],
)
def test_the_other_kinds(
    hub: HubServer, played: Played, argv: list[str], repo_type: str, staged_with: dict[str, str]
) -> None:
    push_to_hub.main([*argv, "--repo_id", "user/repo", "--message", "Hello", "--public"])
    assert played.calls == [{"kind": argv[0], "repo_id": "user/repo", **staged_with}]
    assert hub.repo("user/repo", repo_type).head.title == "Hello"
    assert not hub.repo("user/repo", repo_type).private


def test_all_are_tied_together(hub: HubServer, played: Played) -> None:
    published = push_to_hub.main([*ALL, "--tag", "v1.0.0", "--sibling", "small"])

    expected = {
        ("user/multilabel_emotion", "space"): "metric",
        ("user/balanced", "dataset"): "dataset",
        ("user/stacked-emotion", "model"): "model",
        ("user/stacked-emotion-distilled", "model"): "model",
        ("user/stacked-emotion-demo", "space"): "demo",
        ("user/stacked-emotion-browser", "space"): "browser",
    }
    assert [(done.plan.repo_id, done.plan.repo_type) for done in published] == list(expected)
    for (repo_id, repo_type), kind in expected.items():
        repo = hub.repo(repo_id, repo_type)
        assert repo.files()["kind.txt"].decode() == f"{kind} {repo_id}"
        assert repo.refs["refs/tags/v1.0.0"] == repo.head.oid
    assert played.validated == [(kind, repo_id) for (repo_id, _), kind in expected.items()]
    for call in played.calls[-2:]:
        assert call["model_id"] == "user/stacked-emotion"
        assert call["model_revision"] == "v1.0.0"
    assert [call.get("page") for call in played.calls if call["kind"] == "model"] == [
        "user/stacked-emotion-browser",
        None,
    ]
    (collection,) = hub.collections.values()
    assert collection["title"] == "Stacked emotion"
    assert [(item["id"], item["type"]) for item in collection["items"]] == list(expected)


def test_a_model_that_runs_in_no_browser_gets_no_page(
    hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    played.browser_problem = "trained cannot run in a browser: its encoder 'words' has no fast tokenizer."
    assert len(push_to_hub.main(ALL)) == 4
    assert f"Without a page for the browser: {played.browser_problem}" in capsys.readouterr().out
    assert {call["kind"] for call in played.calls} == {"metric", "dataset", "model", "demo"}
    assert all(call.get("page") is None for call in played.calls)


def test_nothing_is_published_when_one_is_not_valid(
    hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    played.problems = ["README.md: `$name` is not filled in"]
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        push_to_hub.main(ALL)
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        *(
            f"{kind}: README.md: `$name` is not filled in"
            for kind in ("metric", "dataset", "model", "demo", "browser")
        ),
        "error: 5 problems in the staged folders, nothing was published; mend them first.",
    ]
    assert not hub.requests


def test_nothing_is_published_when_one_cannot_be_staged(
    hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*arguments: Any, **options: Any) -> None:
        raise FileNotFoundError("There is no config.json in trained.")

    monkeypatch.setitem(sys.modules, "hub.model.staging", SimpleNamespace(stage_model=refuses))
    assert fails(push_to_hub.main, capsys, *ALL) == "error: There is no config.json in trained."
    assert not hub.requests


class TestDryRun:
    def test_prints_the_plan_and_leaves_the_folder(
        self, hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str]
    ) -> None:
        push_to_hub.main(MODEL)
        hub.repo("user/repo").change("Theirs", theirs__txt="1", config__json="{}")
        before = hub.repo("user/repo").head
        capsys.readouterr()

        assert push_to_hub.main([*MODEL, "--dry_run"]) == []

        assert capsys.readouterr().out.splitlines() == [
            "Staging the model user/repo ...",
            "",
            "model user/repo, branch main",
            "  change             19  config.json",
            "  delete              1  theirs.txt",
            "  0 to add, 1 to change, 1 to delete, 4 unchanged; 19 bytes to upload",
            "  staged in outputs/staged/model",
        ]
        assert hub.repo("user/repo").head == before
        assert contents(Path("outputs/staged/model"))["kind.txt"] == b"model user/repo"

    def test_creates_nothing(self, hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str]) -> None:
        push_to_hub.main([*ALL, "--dry_run", "--staging_dir", "here", "--public"])
        printed = capsys.readouterr().out
        assert "dataset user/balanced, branch main: a new public repository" in printed
        assert sorted(path.name for path in Path("here").iterdir()) == [
            "browser",
            "dataset",
            "demo",
            "metric",
            "model",
        ]
        assert "becomes visible" not in printed
        assert not hub.repos
        assert not hub.collections

    def test_says_what_becomes_public_and_new(
        self, hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str]
    ) -> None:
        push_to_hub.main(MODEL)
        capsys.readouterr()
        push_to_hub.main([*MODEL, "--dry_run", "--public", "--revision", "next"])
        printed = capsys.readouterr().out
        assert "model user/repo, branch next: a new branch of the main one" in printed
        assert "becomes visible to everyone" in printed

    def test_needs_no_token(
        self, hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hub.publish.get_token", lambda: None)
        push_to_hub.main([*MODEL, "--dry_run"])
        printed = capsys.readouterr().out
        assert "model user/repo, branch main: a new private repository" in printed
        assert "the Hub was not looked at: There is no token for the Hub: log in with `hf auth login`" in printed
        assert not hub.requests

    def test_needs_no_network(self, hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str]) -> None:
        hub.__exit__()
        push_to_hub.main([*MODEL, "--dry_run"])
        assert f"the Hub was not looked at: model user/repo: No connection to {hub.url}" in capsys.readouterr().out

    def test_says_that_the_token_is_wrong(
        self, hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", WRONG_TOKEN)
        assert "does not accept the token" in fails(push_to_hub.main, capsys, *MODEL, "--dry_run")


class TestFaults:
    """One line that names the repository, and the same command finishes the job."""

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (Fault("PUT", "/lfs-upload/", cut_after=1000, times=99), "No connection to"),
            (Fault("POST", "/datasets/.*/commit/", status=500, times=99), "The Hub failed at POST"),
            (Fault("POST", "/datasets/.*/commit/", status=412), "Someone else has changed the repository"),
            (
                Fault("POST", "/datasets/.*/commit/", status=429, headers={"Retry-After": "90"}, times=99),
                "The Hub limits the rate of requests: try again in 90 seconds.",
            ),
        ],
    )
    def test_in_the_middle_of_all(
        self, hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str], waits: Any, fault: Fault, said: str
    ) -> None:
        fault.skip = 1 if fault.method == "PUT" else 0
        hub.faults = [fault]
        assert f"error: dataset user/balanced: {said}" in fails(push_to_hub.main, capsys, *ALL)
        assert len(hub.repo("user/balanced", "dataset").history()) == 1
        hub.faults = []

        published = push_to_hub.main(ALL)

        assert len(published) == 5
        assert [done.plan.is_empty for done in published] == [True, False, False, False, False]
        assert {len(repo.history()) for repo in hub.repos.values()} == {2}

    @pytest.mark.parametrize(("token", "said"), [(WRONG_TOKEN, "does not accept"), (READ_TOKEN, "lacks write access")])
    def test_a_token_that_does_not_do(
        self,
        hub: HubServer,
        played: Played,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        token: str,
        said: str,
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", token)
        error = fails(push_to_hub.main, capsys, *MODEL)
        assert said in error
        assert token not in error
        assert not hub.repos
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert len(push_to_hub.main(MODEL)) == 1

    def test_no_token(
        self, played: Played, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hub.publish.get_token", lambda: None)
        assert "There is no token for the Hub" in fails(push_to_hub.main, capsys, *MODEL)


def test_a_pull_request(hub: HubServer, played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    push_to_hub.main(MODEL)
    hub.repo("user/repo").change("Theirs", config__json="{}")
    (made,) = push_to_hub.main([*MODEL, "--create_pr"])
    assert made.pull_request == f"{hub.url}/user/repo/discussions/1"
    assert made.pull_request in capsys.readouterr().out
    assert hub.repo("user/repo").head.title == "Theirs"
    assert "A pull request gets no tag" in fails(push_to_hub.main, capsys, *MODEL, "--create_pr", "--tag", "v1")


def test_another_branch(hub: HubServer, played: Played) -> None:
    (made,) = push_to_hub.main([*MODEL, "--revision", "next"])
    assert hub.repo("user/repo").refs["refs/heads/next"] == made.commit
    assert played.calls[0]["revision"] == "next"


def test_there_is_no_option_for_the_token(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        push_to_hub.main([*MODEL, "--token", TOKEN])
    assert "unrecognized arguments: --token" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stranger_runs_a_trained_model(hub: HubServer, trained: Trained, tmp_path: Path) -> None:
    command = ["model", "--model", str(trained.folder), "--repo_id", "user/repo", "--tag", "v1.0.0"]
    first, second = (run_command(hub, tmp_path / "publisher", *command) for _ in range(2))
    commit = hub.repo("user/repo").head.oid
    assert f"done: {hub.url}/user/repo/tree/{commit}" in first
    assert f"no new commit: {hub.url}/user/repo/tree/{commit}" in second

    # Another commit on the branch: the tag says which one is meant.
    hub.repo("user/repo").change("Theirs", config__json="{}")
    texts = ["I am so happy today!", "", "أنا سعيد جدا اليوم"]
    found = json.loads(run_stranger(hub, tmp_path / "home", STOCK_AND_CUSTOM, "v1.0.0", json.dumps(texts)))

    trust = {"trust_remote_code": True}
    model = AutoModelForSequenceClassification.from_pretrained(trained.folder, **trust)
    tokenizer = AutoTokenizer.from_pretrained(trained.folder, **trust)
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    np.testing.assert_allclose(found["logits"], logits, atol=1e-6)
    # The stock pipeline takes one text at a time: nothing is padded.
    with torch.no_grad():
        logits = torch.cat([model(**tokenizer([text], return_tensors="pt")).logits for text in texts])
    stock = [[scores[label] for label in model.config.labels] for scores in found["stock"]]
    np.testing.assert_allclose(stock, logits.sigmoid(), atol=1e-6)
    assert len(found["custom"]) == len(texts)
    assert found["task"] == "emotion-classification"


@pytest.mark.slow
def test_a_stranger_loads_a_published_data_set(hub: HubServer, api: HfApi, tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, List, Value

    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["anger", "joy"]))})
    source = tmp_path / "source"
    source.mkdir()
    rows = {"text": ["so happy", "أنا غاضب", "both"], "labels": [[1], [0], [0, 1]]}
    for name, number in (("train", 3), ("test", 1), ("more", 2)):
        part = {column: values[:number] for column, values in rows.items()}
        Dataset.from_dict(part, features=features).to_parquet(source / f"{name}.parquet")
    configs = [
        {"config_name": "default", "data_files": [{"split": s, "path": f"{s}.parquet"} for s in ("train", "test")]},
        {"config_name": "augmented", "data_files": [{"split": "train", "path": "more.parquet"}]},
    ]
    (source / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n# A card\n", encoding="utf-8")
    commit = publish(source, "user/data", "dataset", api=api).commit

    code = """
import json, sys
from datasets import load_dataset

data = load_dataset("user/data", revision=sys.argv[1] or None)
more = load_dataset("user/data", "augmented", split="train")
found = {split: [data[split]["text"][:], data[split]["labels"][:]] for split in data}
names = data["train"].features["labels"].feature.names
print(json.dumps({"found": found, "names": names, "more": more["text"][:]}))
"""
    for number, revision in enumerate(["", commit]):
        found = json.loads(run_stranger(hub, tmp_path / f"home{number}", code, revision))
        assert found["found"] == {"train": list(rows.values()), "test": [["so happy"], [[1]]]}
        assert found["names"] == ["anger", "joy"]
        assert found["more"] == rows["text"][:2]


@pytest.mark.slow
def test_a_stranger_loads_the_metric(hub: HubServer, tmp_path: Path) -> None:
    run_command(hub, tmp_path / "publisher", "metric", "--repo_id", "user/multilabel_emotion")
    code = """
import evaluate, json

metric = evaluate.load("user/multilabel_emotion")
found = metric.compute(predictions=[[1, 0], [0, 1], [0, 0]], references=[[1, 0], [1, 1], [0, 0]])
print(json.dumps(found["subset_accuracy"]))
"""
    assert float(run_stranger(hub, tmp_path / "home", code)) == pytest.approx(2 / 3)


@pytest.mark.slow
def test_a_stranger_starts_the_demo(
    hub: HubServer,
    api: HfApi,
    tmp_path: Path,
    model: StackedEmotionForSequenceClassification,
    tokenizer: StackedEmotionTokenizer,
) -> None:
    saved = write_model_folder(tmp_path / "saved", model, tokenizer, {"README.md": "# A card\n"})
    publish(saved, "user/repo", "model", tag="v1.0.0", api=api)
    command = ["demo", "--repo_id", "user/demo", "--model_id", "user/repo", "--model_revision", "v1.0.0"]
    run_command(hub, tmp_path / "publisher", *command)
    code = """
import json, os, re, subprocess, sys
from gradio_client import Client
from huggingface_hub import snapshot_download

folder = snapshot_download("user/demo", repo_type="space", local_dir="demo")
settings = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1"}
with subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=settings, stdout=subprocess.PIPE, text=True) as app:
    try:
        url = next(found[0] for line in app.stdout if (found := re.search(r"http://127[^ \\n]+", line)))
        print(json.dumps(Client(url, verbose=False).predict(text=sys.argv[1], api_name="/classify")["probabilities"]))
    finally:
        app.kill()
"""
    found = json.loads(run_stranger(hub, tmp_path / "home", code, "I am so happy today!"))
    # As the demo answers: in the best precision of the processor, with the words named.
    with torch.no_grad():
        encoded = tokenizer(["I am so happy today!"], padding=True, return_tensors="pt")
        expected = prepare(model)(**encoded, output_word_parts=True).logits.sigmoid()[0]
    assert found == pytest.approx(dict(zip(model.config.labels, expected.tolist(), strict=True)), abs=1e-5)
