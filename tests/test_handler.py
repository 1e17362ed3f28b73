# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.model.handler: a staged folder behind HTTP, in a process that cannot import the project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import LABELS
from model_samples import save_classifier

from hub.model.staging import stage_model
from modeling_stacked_emotion import StackedEmotionForSequenceClassification, StackedEmotionTokenizer
from trainer_ext.evaluation.prediction import predict_probabilities

TEXTS = ["I am so happy today!", "", "أنا سعيد جدا اليوم ❤️"]
THRESHOLDS = [0.01, 0.02, 0.03, 0.99]


class Endpoint:
    """A running endpoint, and what the same model says here."""

    def __init__(self, port: int, probabilities: list[list[float]]) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.probabilities = probabilities

    def post(self, body: Any, query: str = "") -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + query, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture(scope="module")
def endpoint(
    encoder_folders: dict[str, Path], tokenizer: StackedEmotionTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Endpoint]:
    root = tmp_path_factory.mktemp("endpoint")
    model = StackedEmotionForSequenceClassification.from_encoders(encoder_folders, id2label=LABELS).eval()
    source = save_classifier(root / "source", model, tokenizer, thresholds=THRESHOLDS)
    folder = root / "repository"
    folder.mkdir()
    with pytest.warns(UserWarning, match="not recorded"):
        stage_model(source, folder, repo_id="user/emotions")
    probabilities = predict_probabilities(model, tokenizer, TEXTS, precision="fp32").tolist()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HF_"))}
    environment |= {"HF_HOME": str(root / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    server = str(Path(__file__).with_name("endpoint_server.py"))
    with subprocess.Popen(
        [sys.executable, "-I", server, str(folder)], cwd=root, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline()
        assert port, "the endpoint did not start"
        yield Endpoint(int(port), probabilities)
        process.terminate()


def expected(probabilities: list[float], thresholds: list[float]) -> list[tuple[str, Any]]:
    over = [
        (LABELS[index], pytest.approx(score, abs=1e-5))
        for index, (score, limit) in enumerate(zip(probabilities, thresholds, strict=True))
        if score >= limit
    ]
    return sorted(over, key=lambda entry: -entry[1].expected)


def emotions(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [(entry["label"], entry["score"]) for entry in answer["emotions"]]


def test_one_text_gives_one_answer(endpoint: Endpoint) -> None:
    status, answer = endpoint.post({"inputs": TEXTS[0]})
    assert status == 200
    assert answer["text"] == TEXTS[0]
    assert emotions(answer) == expected(endpoint.probabilities[0], THRESHOLDS)
    assert len(answer["emotions"]) == 3
    assert len(answer["attention"]) == 3


def test_a_list_gives_a_list_in_its_order(endpoint: Endpoint) -> None:
    status, answers = endpoint.post({"inputs": TEXTS, "parameters": None})
    assert status == 200
    assert [answer["text"] for answer in answers] == TEXTS
    for answer, probabilities in zip(answers, endpoint.probabilities, strict=True):
        assert emotions(answer) == expected(probabilities, THRESHOLDS)
    assert endpoint.post({"inputs": TEXTS[:1]})[1] == [endpoint.post({"inputs": TEXTS[0]})[1]]
    assert endpoint.post({"inputs": []}) == (200, [])


def test_parameters_in_the_body(endpoint: Endpoint) -> None:
    status, answer = endpoint.post({"inputs": TEXTS[0], "parameters": {"threshold": 0, "top_words": 2, "top_k": 1}})
    assert status == 200
    assert emotions(answer) == expected(endpoint.probabilities[0], [0.0] * 4)[:1]
    assert answer["emotions"][0]["threshold"] == 0
    assert len(answer["attention"]) == 2
    assert endpoint.post({"inputs": TEXTS[0], "parameters": {"threshold": 1.0}})[1]["emotions"] == []
    assert endpoint.post({"inputs": TEXTS[0], "parameters": {"top_k": 0, "top_words": 0}})[1] == {
        **{"text": TEXTS[0], "emotions": [], "attention": []}
    }


def test_lone_surrogates_can_be_sent(endpoint: Endpoint) -> None:
    status, answers = endpoint.post(b'{"inputs": ["\\ud83d hi", "so \\udc00"]}')
    assert status == 200
    assert [answer["text"] for answer in answers] == ["\ufffd hi", "so \ufffd"]
    assert json.dumps(answers, ensure_ascii=False).encode()


def test_words_and_texts_of_any_length_are_answered(endpoint: Endpoint) -> None:
    status, answer = endpoint.post({"inputs": "a" * 1_000_000, "parameters": {"top_words": 1_000_000, "top_k": 999}})
    assert status == 200
    assert len(answer["attention"]) == 1
    assert len(answer["attention"][0]["word"]) < 1_000_000


def test_parameters_in_the_address(endpoint: Endpoint) -> None:
    in_body = endpoint.post({"inputs": TEXTS[0], "parameters": {"threshold": 0.04, "top_words": 1}})
    assert in_body[0] == 200
    assert endpoint.post({"inputs": TEXTS[0]}, "?threshold=0.04&top_words=1") == in_body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": 3}, '"inputs" must be a text or a list of texts, got a number.'),
        ({"inputs": None}, '"inputs" must be a text or a list of texts, got null.'),
        ({"inputs": {"text": "a"}}, '"inputs" must be a text or a list of texts, got an object.'),
        ({"inputs": ["a", ["b"]]}, '"inputs" must hold texts only, but number 2 is a list.'),
        ({"inputs": ["a", True]}, '"inputs" must hold texts only, but number 2 is true or false.'),
        ({"inputs": "a", "parameters": [1]}, '"parameters" must be an object, got a list.'),
        (
            {"inputs": "a", "parameters": {"truncation": True}},
            '"parameters" may hold threshold, top_words, top_k, source; got truncation.',
        ),
        ({"inputs": "a", "parameters": {"threshold": 1.5}}, '"threshold" must be a number in [0, 1], got 1.5.'),
        (
            {"inputs": "a", "parameters": {"threshold": "high"}},
            "\"threshold\" must be a number in [0, 1], got 'high'.",
        ),
        ({"inputs": "a", "parameters": {"threshold": True}}, '"threshold" must be a number in [0, 1], got True.'),
        ({"inputs": "a", "parameters": {"top_k": -1}}, '"top_k" must be a whole number from 0 to 1,000,000, got -1.'),
        (
            {"inputs": "a", "parameters": {"top_words": 1.5}},
            '"top_words" must be a whole number from 0 to 1,000,000, got 1.5.',
        ),
        (
            {"inputs": "a", "parameters": {"threshold": 10**400}},
            '"threshold" must be a number in [0, 1], got a number.',
        ),
        (b'{"inputs": "a", "parameters": {"threshold": 1e400}}', '"threshold" must be a number in [0, 1], got inf.'),
        (b'{"inputs": "a", "parameters": {"threshold": NaN}}', '"threshold" must be a number in [0, 1], got nan.'),
        ({"inputs": "a", "parameters": {"threshold": [[[]]]}}, '"threshold" must be a number in [0, 1], got a list.'),
        ({"inputs": "a", "parameters": {"top_k": 10**400}}, "number from 0 to 1,000,000, got a number."),
        ({"inputs": "a", "parameters": {"top_words": "9" * 5000}}, "number from 0 to 1,000,000, got a text."),
        (
            {"inputs": ["a"] * 1001},
            '"inputs" may hold at most 1,000 texts with 1,000,000 characters in all, got 1,001 with 1,001: send them',
        ),
        ({"inputs": "a" * 1_000_001}, "got 1 with 1,000,001: send them in parts."),
        ({"text": "a"}, "inputs key"),
        (b"{", "Expecting property name"),
    ],
)
def test_a_bad_request_is_answered_with_400(endpoint: Endpoint, body: Any, message: str) -> None:
    status, answer = endpoint.post(body)
    assert status == 400
    assert message in answer["error"]
    assert list(answer) == ["error"]
    assert endpoint.post({"inputs": "still there"})[0] == 200


def test_a_request_without_inputs_is_refused_by_the_handler_itself() -> None:
    from hub.model.handler import EndpointHandler

    with pytest.raises(ValueError, match='The request must be an object with "inputs"'):
        EndpointHandler.__call__(object.__new__(EndpointHandler), {"text": "a"})
