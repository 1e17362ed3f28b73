# SPDX-License-Identifier: Apache-2.0
"""
Files of npm packages, each package pinned to one version and the digest of its archive; no npm is needed.

    python -m hub.browser.npm

fetches all of them to the cache, so that staging the Space needs no network afterwards. The registry is npm's own, or
the one that `NPM_CONFIG_REGISTRY` names.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tarfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

from trainer_ext.errors import InputError
from trainer_ext.files import write_file

REGISTRY = "https://registry.npmjs.org"
_TIMEOUT = 60.0


class NpmPackage(NamedTuple):
    """A version of a package; `integrity` is the SHA-512 of its archive in base64, as the registry states it."""

    name: str
    version: str
    integrity: str

    @property
    def archive(self) -> str:
        """The archive's path on a registry."""
        return f"{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"


ONNXRUNTIME = NpmPackage(
    "onnxruntime-web",
    "1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
)
TOKENIZERS = NpmPackage(
    "@huggingface/tokenizers",
    "0.2.0",
    "LidMHe1FpcSYH4vcSjXooda34pC0M8m1gmDOv7SQi6Iv+ib1zX7J3sHBCC9/3FPCkn2k1b55FneVqMRxrr99pg==",
)
# Of the tests alone: it looks for what hinders people with a screen reader or a keyboard.
AXE = NpmPackage(
    "axe-core",
    "4.14.1",
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)


def cached_archive(package: NpmPackage) -> Path:
    """Where the archive of a package is, or will be, on this machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "stacked_emotion" / "npm" / f"{package.name.replace('/', '_')}-{package.version}.tgz"


def fetch(package: NpmPackage) -> Path:
    """
    The archive of a package: from the cache, or else from the registry.

    Raises:
        `InputError`: If the registry cannot be reached, or the archive is not the one whose digest is pinned.
    """
    path = cached_archive(package)
    if path.is_file() and _digest(path.read_bytes()) == package.integrity:
        return path
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or REGISTRY
    address = f"{registry.rstrip('/')}/{package.archive}"
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as response:
            content = response.read()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{package.name} {package.version}, which the page needs, cannot be fetched from {address}: {error}. "
            f"Try again with a network, or put the archive in {path}."
        ) from error
    if (digest := _digest(content)) != package.integrity:
        raise InputError(f"{address} is not {package.name} {package.version}: its SHA-512 is {digest}.")
    write_file(path, content)
    return path


def read_files(package: NpmPackage, names: tuple[str, ...]) -> dict[str, bytes]:
    """The named files of a package, by their paths in it; see [`fetch`]."""
    files = {}
    with tarfile.open(fetch(package)) as archive:
        for name in names:
            member = archive.extractfile(f"package/{name}")
            assert member is not None
            files[name] = member.read()
    return files


def _digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


if __name__ == "__main__":
    for _package in (ONNXRUNTIME, TOKENIZERS, AXE):
        fetch(_package)
