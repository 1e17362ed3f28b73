# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.dataset.generation against a local server that speaks the OpenAI protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chat_server import ChatServer, good_reply
from huggingface_hub import constants

from hub.dataset.candidates import CANDIDATE_SCHEMA
from hub.dataset.generation import Endpoint, Prompts, generate_texts
from trainer_ext.data.labels import GOEMOTIONS_LABELS

PROMPTS = Prompts.load()
GRIEF, SADNESS = GOEMOTIONS_LABELS.index("grief"), GOEMOTIONS_LABELS.index("sadness")


def endpoint_of(server: ChatServer) -> Endpoint:
    return Endpoint(server.base_url, "some/model", api_key="key")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setattr("hub.retry.time.sleep", lambda seconds: None)
    # The client refuses offline whatever the address is; the socket guard of the tests stays.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server = ChatServer()
    yield server
    server.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.txt"))}


def test_texts_are_kept_with_their_prompt(server: ChatServer, tmp_path: Path) -> None:
    texts, report = generate_texts(endpoint_of(server), PROMPTS, {"grief": 5, "joy": 2}, tmp_path, num_per_request=2)
    assert report == {
        "grief": {"wanted": 5, "kept": 6, "dropped": 0, "requests": 3},
        "joy": {"wanted": 2, "kept": 2, "dropped": 0, "requests": 1},
    }
    assert len(contents(tmp_path)) == len(server.requests) == 4
    assert texts.schema.equals(CANDIDATE_SCHEMA)
    assert texts["text"].to_pylist() == [f"grief {i} {j}" for i in range(3) for j in range(2)] + ["joy 0 0", "joy 0 1"]
    expected = {"text": "grief 2 0", "labels": [GRIEF], "source": "generated", "confidence": 1.0, "split": "train"}
    expected |= {"teacher": "some/model", "prompt_id": "grief@v1"}
    row = texts.to_pylist()[4]
    assert {name: value for name, value in row.items() if value is not None} == expected


def test_requests_say_what_is_wanted(server: ChatServer, tmp_path: Path) -> None:
    generate_texts(endpoint_of(server), PROMPTS, {"grief": 4}, tmp_path, num_per_request=2, seed=7)
    first, second = server.requests
    assert first["path"] == "/v1/chat/completions"
    assert server.headers == ["Bearer key"] * 2
    assert (first["model"], first["temperature"], first["max_tokens"]) == ("some/model", 1.0, 4096)
    assert [first["seed"], second["seed"]] == [7, 8]
    assert first["messages"][0] == {"role": "system", "content": PROMPTS.system}
    assert PROMPTS.labels["grief"] in first["messages"][1]["content"]
    # Other topics for every request.
    assert first["messages"][1] != second["messages"][1]
    assert PROMPTS.messages("grief", 2, 7, 0) == first["messages"]


def test_killed_run_goes_on_where_it_stopped(server: ChatServer, tmp_path: Path) -> None:
    def run(folder: str) -> tuple[Any, dict[str, Any]]:
        return generate_texts(endpoint_of(server), PROMPTS, {"grief": 6}, tmp_path / folder, num_per_request=2)

    expected = run("whole")
    server.requests.clear()
    server.reply = lambda number, request: 400 if number == 2 else good_reply(number, request)
    with pytest.raises(ConnectionError):
        run("parts")
    assert len(contents(tmp_path / "parts")) == 2
    server.requests.clear()
    server.reply = good_reply
    assert run("parts") == expected
    assert len(server.requests) == 1
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert run("parts") == expected
    assert len(server.requests) == 1


def test_unusable_and_repeated_texts_are_dropped(server: ChatServer, tmp_path: Path) -> None:
    entries: list[Any] = [
        {"text": "she is  gone\n", "labels": ["sadness", "grief", "grief"]},
        {"text": "She is gone", "labels": ["grief"]},
        {"text": "not the label", "labels": ["sadness"]},
        {"text": "no such label", "labels": ["grief", "sorrow"]},
        {"text": " ", "labels": ["grief"]},
        {"text": "word " * 101, "labels": ["grief"]},
        {"text": "labels are no list", "labels": "grief"},
        "no object",
    ]
    replies = [json.dumps(entries), "no array", json.dumps([{"text": "she is gone", "labels": ["grief"]}])]
    server.reply = lambda number, request: replies[number] if number < 3 else good_reply(number, request)
    texts, report = generate_texts(endpoint_of(server), PROMPTS, {"grief": 4}, tmp_path, num_per_request=2)
    assert report["grief"] == {"wanted": 4, "kept": 5, "dropped": 9, "requests": 5}
    assert texts["text"].to_pylist() == ["she is gone", "grief 3 0", "grief 3 1", "grief 4 0", "grief 4 1"]
    assert texts["labels"][0].as_py() == sorted([GRIEF, SADNESS])


def test_half_an_emoji_of_a_cut_reply_is_replaced(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda number, request: json.dumps([{"text": "gone \ud83d", "labels": ["grief"]}])
    texts, _ = generate_texts(endpoint_of(server), PROMPTS, {"grief": 1}, tmp_path)
    assert texts["text"].to_pylist() == ["gone \ufffd"]


def test_replies_without_texts_end_with_one_line(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda number, request: "I cannot do that."
    expected = r"some/model: expected 4 texts of 'grief', got 0 from 6 replies with 6 unusable or repeated ones\. Use"
    with pytest.raises(ValueError, match=expected):
        generate_texts(endpoint_of(server), PROMPTS, {"grief": 4}, tmp_path, num_per_request=2)


def test_busy_endpoint_is_asked_again(server: ChatServer, tmp_path: Path) -> None:
    server.reply = lambda number, request: (429, 503)[number] if number < 2 else good_reply(number, request)
    assert generate_texts(endpoint_of(server), PROMPTS, {"joy": 1}, tmp_path)[1]["joy"]["kept"] == 20
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "num_requests", "message"),
    [
        (
            401,
            1,
            r"/v1: the endpoint gave no chat completion of model 'some/model' \(.*401.*\)\. Check URL, model and",
        ),
        (500, 4, r"the endpoint gave no chat completion of model 'some/model' \(.*500.*\)\. Check URL"),
        ({"detail": "something else"}, 1, r"the endpoint gave no chat completion of model 'some/model' \("),
        ([], 1, r"the endpoint gave no chat completion of model 'some/model' \("),
    ],
)
def test_endpoint_that_does_not_answer_is_named(
    server: ChatServer, tmp_path: Path, reply: Any, num_requests: int, message: str
) -> None:
    server.reply = lambda number, request: reply
    with pytest.raises(ConnectionError, match=message) as caught:
        generate_texts(endpoint_of(server), PROMPTS, {"joy": 1}, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == num_requests
    assert not contents(tmp_path)


def test_endpoint_that_is_not_there_is_named(server: ChatServer, tmp_path: Path) -> None:
    endpoint = endpoint_of(server)
    server.close()
    with pytest.raises(ConnectionError, match=r"no chat completion of model 'some/model' \(ConnectError: "):
        generate_texts(endpoint, PROMPTS, {"joy": 1}, tmp_path)


def test_unknown_label_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected labels of admiration, .*, got \['sorrow'\]\. Correct the names"):
        generate_texts(Endpoint("http://127.0.0.1:1/v1", "m"), PROMPTS, {"sorrow": 1}, tmp_path)


def test_numbers_out_of_range_are_named(tmp_path: Path) -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m")
    with pytest.raises(ValueError, match=r"`num_per_request` and `num_workers` of at least 1, got 0 and 4"):
        generate_texts(endpoint, PROMPTS, {"joy": 1}, tmp_path, num_per_request=0)


# ------------------------------------------------------------------------------------------------------------ prompts


def test_prompts_cover_the_labels_in_their_order() -> None:
    assert list(PROMPTS.labels) == list(GOEMOTIONS_LABELS)
    assert PROMPTS.version == "v1"
    assert len(set(PROMPTS.topics)) == len(PROMPTS.topics) == 40
    text = PROMPTS.messages("joy", 3, 0, 0)[1]["content"]
    assert "Write 3 posts that express joy: pleasure and happiness." in text
    assert '[{"text": "...", "labels": ["joy"]}, ...]' in text
    assert sum(topic in text for topic in PROMPTS.topics) >= 8


@pytest.mark.parametrize(
    "change", [{"voices": None}, {"speakers": ["x"]}, {"request": "Write {number} posts"}], ids=lambda item: str(item)
)
def test_broken_prompts_are_named(tmp_path: Path, change: dict[str, Any]) -> None:
    fields = {"system": "s", "request": "{label}", "labels": {"joy": "x"}, "topics": ["a"], "voices": ["b"]} | change
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in fields.items() if value is not None}))
    with pytest.raises(ValueError, match=r"mine.yaml: expected `system`, `request` with known fields, .* got: "):
        Prompts.load(path)
    with pytest.raises(FileNotFoundError, match=r"other.yaml: no such file, expected prompts"):
        Prompts.load(tmp_path / "other.yaml")
