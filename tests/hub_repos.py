# SPDX-License-Identifier: Apache-2.0
"""Repositories in memory as the Hub keeps them: commits with a history, branches, tags, pull requests, large files."""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass, field
from typing import Any

GITATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.bin", "*.npy", "*.onnx", "*.parquet", "*.safetensors", "*tfevents*")
).encode()
DATE = "2026-01-02T03:04:05.000Z"
LFS_BYTES = 10 * 1024 * 1024


class HubError(Exception):
    """What the Hub refuses: a status, its message and what it says in `X-Error-Code`."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.body = {"error": message, **body}


def repo_not_found(status: int) -> HubError:
    return HubError(status, "Repository not found", "RepoNotFound")


@dataclass(frozen=True)
class Blob:
    data: bytes
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def pointer(self) -> bytes:
        spec = "version https://git-lfs.github.com/spec/v1"
        return f"{spec}\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    @property
    def oid(self) -> str:
        """The id that git gives to what it stores: the file, or the pointer to a large one."""
        stored = self.pointer if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def info(self, path: str) -> dict[str, Any]:
        """An entry of the tree."""
        lfs = {"oid": self.sha256, "size": len(self.data), "pointerSize": len(self.pointer)}
        return {"type": "file", "path": path, "oid": self.oid, "size": len(self.data)} | (
            {"lfs": lfs} if self.lfs else {}
        )


@dataclass(frozen=True)
class Commit:
    oid: str
    parents: tuple[str, ...]
    title: str
    files: dict[str, Blob]


@dataclass
class Repo:
    """One repository; `refs` maps full names such as `refs/heads/main` to commits."""

    id: str
    type: str
    private: bool
    sdk: str | None = None
    refs: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)
    pulls: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        files = {".gitattributes": Blob(GITATTRIBUTES)}
        if self.type == "space":
            files["README.md"] = Blob(f"---\nsdk: {self.sdk}\n---\n".encode())
        self.commit("refs/heads/main", "initial commit", files)

    @property
    def head(self) -> Commit:
        return self.commits[self.refs["refs/heads/main"]]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return {path: blob.data for path, blob in self.at(revision).files.items()}

    def history(self, revision: str = "main") -> list[Commit]:
        """Latest first."""
        found = [self.at(revision)]
        while found[-1].parents:
            found.append(self.commits[found[-1].parents[0]])
        return found

    def ref(self, revision: str) -> str | None:
        names = (f"refs/heads/{revision}", f"refs/tags/{revision}", revision)
        return next((name for name in names if name in self.refs), None)

    def at(self, revision: str) -> Commit:
        name = self.ref(revision)
        oid = revision if name is None else self.refs[name]
        if oid not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def commit(self, ref: str, title: str, files: dict[str, Blob], parent: str | None = None) -> Commit:
        parents = () if parent is None else (parent,)
        names = "".join(f"{path} {blob.oid}\n" for path, blob in sorted(files.items()))
        text = f"{self.type} {self.id} {len(self.commits)}\n{parents}\n{title}\n{names}"
        commit = Commit(hashlib.sha1(text.encode()).hexdigest(), parents, title, files)
        self.commits[commit.oid] = commit
        self.refs[ref] = commit.oid
        return commit

    def change(self, title: str, **files: str) -> Commit:
        """What someone else does on the main branch: writes files, given with `__` for the dot."""
        changed = {name.replace("__", "."): Blob(text.encode()) for name, text in files.items()}
        return self.commit("refs/heads/main", title, self.head.files | changed, self.head.oid)

    def upload_mode(self, path: str, size: int, revision: str) -> str:
        attributes = self.at(revision).files.get(".gitattributes", Blob(b"")).data.decode()
        patterns = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line]
        name = path.rsplit("/", 1)[-1]
        return "lfs" if size > LFS_BYTES or any(fnmatch.fnmatch(name, pattern) for pattern in patterns) else "regular"

    def apply(self, lines: list[dict[str, Any]], revision: str) -> dict[str, Blob]:
        """The files after the operations of a commit request; nothing is changed yet."""
        from base64 import b64decode

        files = dict(self.at(revision).files)
        for line in lines:
            key, value = line["key"], line["value"]
            path = value.get("path", "")
            if key == "file":
                files[path] = Blob(b64decode(value["content"]))
            elif key == "lfsFile":
                if value["oid"] not in self.lfs:
                    raise HubError(400, f"LFS pointer of {path} points to a file that does not exist")
                files[path] = Blob(self.lfs[value["oid"]], lfs=True)
            elif key in ("deletedFile", "deletedFolder"):
                gone = [name for name in files if name == path or name.startswith(path.rstrip("/") + "/")]
                if not gone:
                    raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
                for name in gone:
                    del files[name]
        return files

    def tree(self, revision: str, folder: str, recursive: bool) -> list[dict[str, Any]]:
        prefix = f"{folder.strip('/')}/" if folder.strip("/") else ""
        below = {path: blob for path, blob in self.at(revision).files.items() if path.startswith(prefix)}
        if prefix and not below:
            raise HubError(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        folders: set[str] = set()
        entries = []
        for path, blob in sorted(below.items()):
            parts = path[len(prefix) :].split("/")
            parents = [prefix + "/".join(parts[:depth]) for depth in range(1, len(parts))]
            folders.update(parents if recursive else parents[:1])
            if recursive or not parents:
                entries.append(blob.info(path))
        return [folder_info(path) for path in sorted(folders)] + entries

    def info(self, revision: str) -> dict[str, Any]:
        commit = self.at(revision)
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        info = {"id": self.id, "author": self.id.split("/")[0], "sha": commit.oid, "private": self.private}
        dates = {"lastModified": DATE, "createdAt": DATE}
        return info | dates | {"tags": [], "siblings": siblings} | ({"sdk": self.sdk} if self.sdk else {})

    def list_refs(self) -> dict[str, list[dict[str, str]]]:
        kinds = {
            "branches": "refs/heads/",
            "tags": "refs/tags/",
            "converts": "refs/convert/",
            "pullRequests": "refs/pr/",
        }
        return {
            kind: [
                {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": oid}
                for ref, oid in self.refs.items()
                if ref.startswith(prefix)
            ]
            for kind, prefix in kinds.items()
        }


def folder_info(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}
