# SPDX-License-Identifier: Apache-2.0
"""Tests of hub.validation.files: secrets in any file and paths in texts are found, nothing else is."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file
from staged_samples import demo_folder

from hub.validation.files import private_paths, secrets, unwanted_files

Spoil = Callable[[Path], Any]


def only_problem(folder: Path) -> str:
    (problem,) = unwanted_files(folder)
    assert "\n" not in problem
    return problem


# ----------------------------------------------------------------------------------------------- pickles and odd files


def zip_of(name: str, content: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        with zipfile.ZipFile(folder / "extra.dat", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)

    return spoil


def object_array(folder: Path) -> None:
    np.save(folder / "extra.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def records_with_objects(folder: Path) -> None:
    np.savez_compressed(folder / "extra.npz", np.array([(1, "a")], dtype=[("x", int), ("y", object)]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "training_args.bin").write_bytes(b""), "training_args.bin: is a pickle by its name"),
        (lambda folder: (folder / "scaler.joblib").write_bytes(b""), "scaler.joblib: is a pickle by its name"),
        (lambda folder: (folder / "extra.dat").write_bytes(pickle.dumps([1])), "extra.dat: holds a pickle"),
        (lambda folder: (folder / "notes.txt").write_bytes(pickle.dumps({"a": 1}, 0)), "notes.txt: holds a pickle"),
        (lambda folder: torch.save([torch.ones(2)], folder / "extra.dat"), "extra.dat: holds a pickle"),
        (lambda folder: (folder / "extra.dat").write_bytes(pickle.dumps(1) + b"more"), "extra.dat: holds a pickle"),
        (lambda folder: (folder / "model.PKL.gz").write_bytes(b""), "model.PKL.gz: is a pickle by its name"),
        (zip_of("weights/data.pkl", b""), "extra.dat: holds a pickle"),
        (object_array, "extra.npy: holds a pickle"),
        (records_with_objects, "extra.npz: holds a pickle"),
    ],
)
def test_pickles_are_refused(tmp_path: Path, spoil: Spoil, message: str) -> None:
    folder = demo_folder(tmp_path / "demo")
    spoil(folder)
    assert only_problem(folder).startswith(message)


def test_large_files_need_an_ending_that_the_hub_knows(tmp_path: Path) -> None:
    folder = demo_folder(tmp_path / "demo")
    for name in ("all.parquet", "tokenizer.json"):
        (folder / name).write_bytes(b"x" * (11 << 20))
    assert list(unwanted_files(folder)) == []
    (folder / "all.csv").write_bytes(b"x" * (11 << 20))
    assert only_problem(folder).startswith("all.csv: has 11 MiB and an ending that")


# -------------------------------------------------------------------------------------------------- secrets and paths


# Put together here, so that no scanner takes this file for one with secrets.
LETTERS = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
SECRETS = {
    "a Hugging Face token": "hf" + "_" + LETTERS[:34],
    "a Hugging Face token of an organisation": "api_" + "org_" + LETTERS[:34],
    "an AWS access key": "AK" + "IA" + "ABCDEFGH12345678",
    "a GitHub token": "gh" + "p_" + LETTERS[:36],
    "a fine-grained GitHub token": "github" + "_pat_" + LETTERS,
    "a Google API key": "AI" + "za" + LETTERS[:35],
    "a Slack token": "xo" + "xb-" + "1234567890-abcdef",
    "an API key": "sk" + "-proj-" + LETTERS,
    "a private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize(("name", "secret"), SECRETS.items())
def test_tokens_are_found_in_texts_and_not_repeated(tmp_path: Path, name: str, secret: str) -> None:
    (tmp_path / "README.md").write_text(f"# x\n\nexport KEY={secret}\n")
    assert list(secrets(tmp_path)) == [f"README.md:3: seems to hold {name}"]


@pytest.mark.parametrize(
    "line",
    [
        "api" + "_key = 'Zx81-5kk2-99aa'",
        '{"client_' + 'secret": "abc123def456ghi"}',
        "PASS" + 'WORD: "correct-horse-2"',
        "AWS_SECRET_ACCESS" + "_KEY = 'abcdEFGH1234/abcd+x'",
    ],
)
def test_assigned_secrets_are_found(tmp_path: Path, line: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "app.py").write_text(f"\n{line}\n")
    assert list(secrets(tmp_path)) == ["deep/app.py:2: seems to hold a secret"]


def test_secrets_are_found_where_they_are_compressed_or_binary(tmp_path: Path) -> None:
    secret = SECRETS["a Hugging Face token"]
    save_file({"weight": np.zeros(3)}, tmp_path / "model.safetensors", metadata={"by": secret})
    table = pa.table({"text": [None, "so happy " * 50, f"my token is {secret}"], "labels": [[1], [2], [3]]})
    pq.write_table(table, tmp_path / "train.parquet", compression="zstd")
    (tmp_path / "figure.png").write_bytes(b"\x89PNG\r\n\xff\xfe" + secret.encode())
    assert [problem.partition(":")[0] for problem in (secrets(tmp_path))] == [
        "figure.png",
        "model.safetensors",
        "train.parquet",
    ]


def test_ordinary_content_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "api_key = 'your-key-goes-here', token=<your_token>, the task-list and risk-aversion-aversion-aversion\n"
        "hf_hub_download and HF_TOKEN are names; password = getpass(); sk-learn\n"
    )
    (tmp_path / "tokenizer_config.json").write_text('{"pad_token": "<|endoftext|>", "cls_token": "[CLS]"}')
    (tmp_path / "vocab.txt").write_text(f"secret = '{LETTERS[:20]}1'\n")
    pq.write_table(pa.table({"text": ["password: hunter2", "keep it secret"]}), tmp_path / "train.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"no rows")
    assert list(secrets(tmp_path)) == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("README.md", "/".join(("", "home", "ann", "models", "minilm"))),
        ("config.json", "/".join(("", "Users", "ann"))),
        ("report.json", "/".join(("", "data", "train.tsv"))),
        (".eval_results/emotions.yaml", "/".join(("", "tmp", "run-1", "data.tsv"))),
        ("app.py", "\\".join(("C:", "Users", "ann"))),
    ],
)
def test_paths_of_a_machine_are_found(tmp_path: Path, name: str, path: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(f'\n"base": "{path}"\n')
    assert list(private_paths(tmp_path)) == [f"{name}:2: names a path of a machine, {path}"]


def test_addresses_and_vocabularies_are_no_paths(tmp_path: Path) -> None:
    home = "/".join(("", "home", "ann"))
    (tmp_path / "README.md").write_text(f"https://example.org{home} and onnx/model.onnx, and/or ./data{home}\n")
    (tmp_path / "tokenizer.json").write_text(f'{{"{home}": 7}}')
    assert list(private_paths(tmp_path)) == []
