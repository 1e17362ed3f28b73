# SPDX-License-Identifier: Apache-2.0
"""What must not leave a machine: secrets in any file, paths in the texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# Each starts with letters of its own, so that searching a large file is quick.
_TOKENS = {
    "a Hugging Face token": rb"hf_[A-Za-z0-9]{30,}",
    "a Hugging Face token of an organisation": rb"api_org_[A-Za-z0-9]{30,}",
    "an AWS access key": rb"A(?:KI|SI)A[0-9A-Z]{16}",
    "a GitHub token": rb"gh[pousr]_[A-Za-z0-9]{36}",
    "a fine-grained GitHub token": rb"github_pat_\w{22,}",
    "a Google API key": rb"AIza[\w-]{35}",
    "a Slack token": rb"xox[abprs]-[\w-]{10,}",
    "an API key": rb"sk-(?<![A-Za-z0-9]sk-)(?:[a-z]+\d*-)*[A-Za-z0-9_]{20,}",
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
}
# With a digit in the value, so that "your-key-goes-here" is none.
_ASSIGNMENT = (
    rb"(?i:api_?key|secret|access_?key|(?:access|auth|bearer)_?token|passw(?:or)?d)"
    rb"[\"']?\s*[:=]\s*[\"'](?=[^\"']*\d)[\w+/=.~-]{12,}[\"']"
)
_IN_ALL = {name: re.compile(pattern) for name, pattern in _TOKENS.items()}
_IN_PROSE = _IN_ALL | {"a secret": re.compile(_ASSIGNMENT)}
_HOMES = "home|Users|Volumes|root|work|workspace|scratch|tmp|mnt|media|nfs|data|storage|private"
_PATH = re.compile(rf"(?<![\w.])/(?:{_HOMES})/[\w.+-]+(?:/[\w.+-]+)*|\b[A-Z]:\\+Users\\+\w+")
TEXTS = {".json", ".md", ".py", ".txt", ".yaml", ".yml"}
"""Endings of files that are text in UTF-8."""

# Words of a language, which may look like anything.
_VOCABULARIES = {"added_tokens.json", "merges.txt", "tokenizer.json", "vocab.json", "vocab.txt"}


def secret_problems(folder: Path) -> list[str]:
    """
    Files with what looks like a token, a key or a password; the secret itself is not repeated.

    Args:
        folder (`Path`): The staged repository.

    Returns:
        `list[str]`: A line each.
    """
    problems = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = _content(path)
        for name, pattern in (_IN_PROSE if _is_prose(path) else _IN_ALL).items():
            if match := pattern.search(content):
                line = f":{content[: match.start()].count(10) + 1}" if _is_prose(path) else ""
                problems.append(f"{path.relative_to(folder).as_posix()}{line}: holds what looks like {name}")
    return problems


def path_problems(folder: Path) -> list[str]:
    """
    Absolute paths of somebody's machine in texts, code, metadata and settings.

    Args:
        folder (`Path`): The staged repository.

    Returns:
        `list[str]`: A line each.
    """
    problems = []
    for path, text in _prose(folder):
        for match in _PATH.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            problems.append(f"{path.relative_to(folder).as_posix()}:{line}: names a path of a machine, {match[0]}")
    return problems


def _prose(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _is_prose(path):
            yield path, path.read_text(encoding="utf-8")


def _is_prose(path: Path) -> bool:
    return path.suffix in TEXTS and path.name not in _VOCABULARIES


def _content(path: Path) -> bytes:
    """The bytes that can hold text: of weights the header, of tables the strings, which are compressed in the file."""
    if path.suffix == ".safetensors":
        with path.open("rb") as stream:
            return stream.read(min(int.from_bytes(stream.read(8), "little"), path.stat().st_size))
    if path.suffix == ".parquet":
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException):
            return path.read_bytes()
        columns = [column for column in table.columns if pa.types.is_string(column.type)]
        return "\n".join(text for column in columns for text in column.drop_null().to_pylist()).encode()
    return path.read_bytes()
