# SPDX-License-Identifier: Apache-2.0
"""Tests of scripts.write_texts: generated, exported and reviewed texts, from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from chat_server import ChatServer
from conftest import fails
from huggingface_hub import constants

from scripts.write_texts import main


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    # The client refuses offline whatever the address is; the socket guard of the tests stays.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("MY_KEY", "secret")
    server = ChatServer()
    output = tmp_path / "generated.parquet"
    command = ["generate", "--base_url", server.base_url, "--model", "some/model", "--labels", "grief, pride"]
    command += ["--num_texts", "3", "--num_per_request", "2", "--api_key_variable", "MY_KEY", "--output", str(output)]
    main(command)
    assert set(server.headers) == {"Bearer secret"}
    main(command)
    # Nothing is asked for a second time.
    assert len(server.requests) == 4
    server.close()
    assert "pride: 3 wanted, 4 kept, 0 dropped, 2 requests" in capsys.readouterr().out
    return output


def test_texts_are_generated_exported_and_reviewed(
    generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = pq.read_table(generated)
    assert texts["prompt_id"].to_pylist() == ["grief@v1"] * 4 + ["pride@v1"] * 4
    main(["export", "--candidates", str(generated), "--output", str(tmp_path / "export.csv")])
    assert "8 texts in" in capsys.readouterr().out
    with (tmp_path / "export.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    for annotator, last in (("ann", "grief"), ("bob", "joy")):
        labels = ["grief"] * 4 + ["pride"] * 3 + [last]
        filled = [[*row[:2], label] for row, label in zip(rows, labels, strict=True)]
        with (tmp_path / f"{annotator}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *filled])
    votes = [str(tmp_path / f"{annotator}.csv") for annotator in ("ann", "bob")]
    output = tmp_path / "reviewed.parquet"
    main(["review", "--candidates", str(generated), "--votes", *votes, "--output", str(output)])
    report = json.loads(capsys.readouterr().out)
    assert (report["kept"], report["without_majority"]) == (7, 1)
    reviewed = pq.read_table(output)
    assert reviewed["text"].to_pylist() == texts["text"].to_pylist()[:7]
    assert json.loads(reviewed["human_votes"][6].as_py()) == {"annotator_1": ["pride"], "annotator_2": ["pride"]}


def test_bad_input_ends_with_one_line(generated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "reviewed.parquet"
    options = ["--candidates", generated, "--votes", "a.csv", "b.csv", "--output", output]
    error = fails(main, capsys, "review", *options)
    assert error.startswith("error: a.csv: no such file, expected an annotator's CSV file.")
    assert not output.exists()
