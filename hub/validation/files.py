# SPDX-License-Identifier: Apache-2.0
"""Files that must not be published: too large, pickles, secrets, paths of a machine."""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

_PICKLES = {".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
_MAX_PLAIN_SIZE = 10 * 2**20
# Beyond that size the Hub wants git LFS, which it uses for these by itself (.gitattributes of a new repository).
_LARGE = (
    *("*.arrow", "*.bz2", "*.gz", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.onnx.data", "*.onnx_data", "*.parquet"),
    *("*.safetensors", "*.tar", "*.wasm", "*.xz", "*.zip", "*.zst", "tokenizer.json"),
)
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
_TEXTS = {".json", ".md", ".py", ".txt", ".yaml", ".yml"}
# Words of a language, which may look like anything.
_VOCABULARIES = {"added_tokens.json", "merges.txt", "tokenizer.json", "vocab.json", "vocab.txt"}


def unwanted_files(folder: Path) -> Iterator[str]:
    """Pickles, and files that are too large for git."""
    for name, path in _files(folder):
        size = path.stat().st_size
        if size > _MAX_PLAIN_SIZE and not any(fnmatch(path.name, pattern) for pattern in _LARGE):
            yield f"{name}: has {size / 2**20:,.0f} MiB and an ending that the Hub does not know as large"
        if _PICKLES.intersection(suffix.lower() for suffix in path.suffixes):
            yield f"{name}: is a pickle by its name: whoever loads one runs its code; save safetensors"
        elif _is_pickle(path):
            yield f"{name}: holds a pickle: whoever loads one runs its code; save safetensors"


def secrets(folder: Path) -> Iterator[str]:
    """Contents that look like a token, a key or a password; the secret itself is not repeated."""
    for name, path in _files(folder):
        content = _content(path)
        for kind, pattern in (_IN_PROSE if _is_prose(path) else _IN_ALL).items():
            if match := pattern.search(content):
                line = f":{content[: match.start()].count(10) + 1}" if _is_prose(path) else ""
                yield f"{name}{line}: seems to hold {kind}"


def private_paths(folder: Path) -> Iterator[str]:
    """Absolute paths of somebody's machine in texts, code, metadata and settings."""
    for name, path in _files(folder):
        if _is_prose(path):
            text = path.read_text(encoding="utf-8")
            for match in _PATH.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                yield f"{name}:{line}: names a path of a machine, {match[0]}"


def _files(folder: Path) -> list[tuple[str, Path]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path) for path in files]


def _is_pickle(path: Path) -> bool:
    """Of any protocol, plain, as arrays of objects or in a zip file, as torch writes it."""
    with path.open("rb") as stream:
        start = stream.read(6)
        stream.seek(0)
        if start == b"\x93NUMPY":
            return _holds_objects(stream)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(".pkl") or _holds_objects(archive.open(name)) for name in archive.namelist())
        try:
            for _ in pickletools.genops(stream):
                pass
        except Exception:
            return False
        # Torch once wrote several into a file. A text may begin like one of the old protocols.
        return start.startswith(b"\x80") or stream.read(1) == b""


def _holds_objects(array: IO[bytes]) -> bool:
    """By the header of a .npy file."""
    start = array.read(2**16)
    return start.startswith(b"\x93NUMPY") and b"|O" in start.partition(b"\n")[0]


def _is_prose(path: Path) -> bool:
    return path.suffix in _TEXTS and path.name not in _VOCABULARIES


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
