# SPDX-License-Identifier: Apache-2.0
"""
Publish a staged folder to the Hub: one commit that makes the repository equal to the folder, or none.

The token is that of `HF_TOKEN` or of `hf auth login`; no function takes one, and no message contains it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import LocalTokenNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash, sha_fileobj

from trainer_ext.errors import InputError

from .calls import clear_errors, patiently

# The Hub writes it when a repository is created; it says which files are large.
_KEPT = frozenset({".gitattributes"})


@dataclass(frozen=True)
class Plan:
    """
    What one commit would do to a repository.

    Args:
        repo_id (`str`): Such as `user/name`.
        repo_type (`str`): `model`, `dataset` or `space`.
        revision (`str`): The branch.
        head (`str` or `None`): The commit that was looked at; `None` if there is no repository.
        private (`bool`): Whether the repository is private, or would be created so.
        is_new_branch (`bool`): Whether the branch is still to be made, from the main one.
        added, changed, deleted (`dict[str, int]`): Paths and sizes in bytes; deleted ones as they are on the Hub.
        num_unchanged (`int`): Files of the folder that the repository has already.
    """

    repo_id: str
    repo_type: str
    revision: str
    head: str | None
    private: bool
    is_new_branch: bool
    added: dict[str, int]
    changed: dict[str, int]
    deleted: dict[str, int]
    num_unchanged: int

    @property
    def is_empty(self) -> bool:
        """Whether the repository has the files of the folder already and no others."""
        return self.head is not None and not (self.added or self.changed or self.deleted)

    def lines(self) -> list[str]:
        """The plan to be read, a line per file."""
        title = f"{self.repo_type} {self.repo_id}, branch {self.revision}"
        if self.head is None:
            title += f": a new {'private' if self.private else 'public'} repository"
        elif self.is_new_branch:
            title += ": a new branch of the main one"
        kinds = {"add": self.added, "change": self.changed, "delete": self.deleted}
        entries = [(kind, path, size) for kind, files in kinds.items() for path, size in sorted(files.items())]
        lines = [f"  {kind:<6}  {size:>13,}  {path}" for kind, path, size in entries]
        upload = sum(self.added.values()) + sum(self.changed.values())
        counts = ", ".join(f"{len(files)} to {kind}" for kind, files in kinds.items())
        return [title, *lines, f"  {counts}, {self.num_unchanged} unchanged; {upload:,} bytes to upload"]


class Published(NamedTuple):
    """The commit that has the files; what was changed for it; the address of the pull request, if it is in one."""

    commit: str
    plan: Plan
    pull_request: str | None = None


def local_plan(folder: Path, repo_id: str, repo_type: str, *, revision: str = "main", private: bool = True) -> Plan:
    """
    The plan for a repository that does not exist, made without a look at the Hub; the arguments are those of [`plan`].

    Raises:
        FileNotFoundError: The folder is missing or has no files.
        ValueError: The name has not the form `user/name`.
    """
    if repo_id.count("/") != 1:
        raise InputError(f"`repo_id` must be USER/NAME, got {repo_id!r}.")
    sizes = {path: file.stat().st_size for path, file in _local_files(folder).items()}
    return Plan(repo_id, repo_type, revision, None, private, False, sizes, {}, {}, 0)


def plan(
    folder: Path,
    repo_id: str,
    repo_type: str,
    *,
    revision: str = "main",
    private: bool = True,
    api: HfApi | None = None,
) -> Plan:
    """
    Compare a folder with a repository; nothing is changed.

    Args:
        folder (`Path`): The staged folder: exactly the files of the repository.
        repo_id (`str`): Such as `user/name`.
        repo_type (`str`): `model`, `dataset` or `space`.
        revision (`str`, *optional*, defaults to `main`): The branch.
        private (`bool`, *optional*, defaults to `True`): Whether a new repository would be private.
        api (`HfApi`, *optional*): The client; by default with the token of `HF_TOKEN` or of the login.

    Raises:
        FileNotFoundError: The folder is missing or has no files.
        ValueError: The name has not the form `user/name`, or the Hub refuses the request.
        LocalTokenNotFoundError: There is no token.
        PermissionError: The Hub does not accept the token, or the token has not the right.
        ConnectionError: There is no connection, or the Hub fails or limits the rate.
    """
    target = _Target(_client(api), folder, local_plan(folder, repo_id, repo_type, revision=revision, private=private))
    with clear_errors(target.api):
        return target.look()


def publish(
    folder: Path,
    repo_id: str,
    repo_type: str,
    *,
    private: bool = True,
    tag: str | None = None,
    create_pr: bool = False,
    revision: str = "main",
    message: str = "Publish",
    api: HfApi | None = None,
) -> Published:
    """
    Make the repository equal to the folder, with one commit; with none if it is so already.

    Everything is uploaded before the commit is made. A repository is created private; one that is to be public becomes
    so last, when commit and tag are there.

    Args:
        folder (`Path`): The staged folder: exactly the files of the repository.
        repo_id (`str`): Such as `user/name`.
        repo_type (`str`): `model`, `dataset` or `space` (Gradio).
        private (`bool`, *optional*, defaults to `True`):
            `False` makes the repository public. `True` leaves one that exists as it is.
        tag (`str`, *optional*): The version, such as `v1.0.0`, that the commit gets.
        create_pr (`bool`, *optional*, defaults to `False`): Make the commit in a pull request.
        revision (`str`, *optional*, defaults to `main`): The branch; made from the main one if there is none.
        message (`str`, *optional*, defaults to `Publish`): The title of the commit.
        api (`HfApi`, *optional*): The client; by default with the token of `HF_TOKEN` or of the login.

    Raises:
        ValueError: As of [`plan`]; a tag that is on another commit or for a pull request; a pull request to nothing.
        RuntimeError: Someone else has changed the repository in between.
        FileNotFoundError, LocalTokenNotFoundError, PermissionError, ConnectionError: As of [`plan`].
    """
    if tag and create_pr:
        raise InputError("A pull request gets no tag: give `tag` when it is merged.")
    target = _Target(_client(api), folder, local_plan(folder, repo_id, repo_type, revision=revision))
    with clear_errors(target.api):
        changes = target.look()
        if create_pr:
            return target.open_pull_request(changes, message)
        if tag:
            target.check_tag(changes, tag)
        changes = target.prepare(changes)
        published = target.commit(changes, message)
        if tag:
            target.set_tag(published.commit, tag)
        if changes.private and not private:
            target.make_public()
        return published


def add_to_collection(
    title: str,
    namespace: str,
    items: Sequence[tuple[str, str]],
    *,
    private: bool = True,
    api: HfApi | None = None,
) -> str:
    """
    Tie repositories together in a collection, which is created if there is none; what is in it already stays.

    Args:
        title (`str`): The title of the collection.
        namespace (`str`): Its user or organisation.
        items (`Sequence[tuple[str, str]]`): The id and the type of each repository.
        private (`bool`, *optional*, defaults to `True`): As of [`publish`].
        api (`HfApi`, *optional*): As of [`publish`].

    Returns:
        `str`: The slug of the collection.

    Raises:
        ValueError, LocalTokenNotFoundError, PermissionError, ConnectionError: As of [`plan`].
    """
    client = _client(api)
    with clear_errors(client):
        collection = patiently(
            lambda: client.create_collection(title, namespace=namespace, private=private, exists_ok=True)
        )
        slug: str = collection.slug
        for item in items:
            patiently(partial(client.add_collection_item, slug, *item, exists_ok=True))
        if collection.private and not private:
            patiently(lambda: client.update_collection_metadata(slug, private=False))
        return slug


class _Target:
    """A branch of a repository and the folder that it is to be equal to; errors are still the client's."""

    def __init__(self, api: HfApi, folder: Path, local: Plan) -> None:
        self.api = api
        self.files = _local_files(folder)
        self.local = local
        self.repo = {"repo_id": local.repo_id, "repo_type": local.repo_type}

    def look(self) -> Plan:
        """The plan against what is on the Hub now."""
        is_new_branch = False
        try:
            try:
                info = self._info(self.local.revision)
            except RevisionNotFoundError:
                is_new_branch = True
                info = self._info("main")
        except RepositoryNotFoundError as error:
            # With 401 the Hub says that it does not know who asks.
            if error.response.status_code == 401:
                raise
            return self.local
        local = replace(self.local, head=info.sha, private=info.private, is_new_branch=is_new_branch)
        return self._compare(local, info.sha)

    def prepare(self, changes: Plan) -> Plan:
        """Make the repository and the branch if they do not exist; the plan as it is then."""
        if changes.head is None:
            sdk = "gradio" if changes.repo_type == "space" else None
            patiently(lambda: self.api.create_repo(**self.repo, private=True, space_sdk=sdk, exist_ok=True))
            changes = self.look()
        if changes.is_new_branch:
            branch = {"branch": changes.revision, "revision": changes.head}
            patiently(lambda: self.api.create_branch(**self.repo, **branch, exist_ok=True))
        return changes

    def commit(self, changes: Plan, message: str) -> Published:
        """Make the branch equal to the folder."""

        def find() -> Published | None:
            now = self.look()
            return Published(str(now.head), changes) if now.is_empty else None

        if changes.is_empty:
            return Published(str(changes.head), changes)
        return self._commit(changes, message, find)

    def open_pull_request(self, changes: Plan, message: str) -> Published:
        """The same in a pull request; an open one that has these files already is found."""
        if changes.head is None or changes.is_new_branch:
            raise InputError(f"There is no {changes.repo_type} {changes.repo_id} with the branch {changes.revision}.")
        if changes.is_empty:
            return Published(changes.head, changes)
        find = partial(self._find_pull_request, changes)
        return find() or self._commit(changes, message, find, create_pr=True)

    def check_tag(self, changes: Plan, tag: str) -> None:
        """Before anything is changed: a version that is out does not move."""
        tagged = None if changes.head is None else self._tagged(tag)
        if tagged is not None and not (changes.is_empty and tagged == changes.head):
            raise InputError(
                f"The tag {tag} of {changes.repo_id} is on commit {tagged[:7]} and does not move: give a new `tag`."
            )

    def set_tag(self, commit: str, tag: str) -> None:
        """Name the commit, if it is not named so yet."""
        if self._tagged(tag) != commit:
            patiently(lambda: self.api.create_tag(**self.repo, tag=tag, revision=commit, exist_ok=True))

    def make_public(self) -> None:
        """Let everyone see the repository."""
        patiently(lambda: self.api.update_repo_settings(**self.repo, private=False))

    def _info(self, revision: str) -> Any:
        return patiently(lambda: self.api.repo_info(**self.repo, revision=revision))

    def _tagged(self, tag: str) -> str | None:
        refs = patiently(lambda: self.api.list_repo_refs(**self.repo))
        return next((ref.target_commit for ref in refs.tags if ref.name == tag), None)

    def _compare(self, local: Plan, revision: str) -> Plan:
        """The plan against the files of a commit or branch."""
        listed = self.api.list_repo_tree(**self.repo, revision=revision, recursive=True)
        remote = {entry.path: entry for entry in listed if isinstance(entry, RepoFile)}
        sizes = self.local.added
        changed = {
            path: size
            for path, size in sizes.items()
            if path in remote and not _is_same(self.files[path], size, remote[path])
        }
        return replace(
            local,
            added={path: size for path, size in sizes.items() if path not in remote},
            changed=changed,
            deleted={path: file.size for path, file in remote.items() if path not in {*sizes, *_KEPT}},
            num_unchanged=sum(path in remote and path not in changed for path in sizes),
        )

    def _find_pull_request(self, changes: Plan) -> Published | None:
        kinds = {"discussion_type": "pull_request", "discussion_status": "open"}
        for pull in patiently(lambda: list(self.api.get_repo_discussions(**self.repo, **kinds))):
            ref = f"refs/pr/{pull.num}"
            if self._compare(changes, ref).is_empty:
                return Published(self._info(ref).sha, changes, pull.url)
        return None

    def _commit(
        self, changes: Plan, message: str, find: Callable[[], Published | None], create_pr: bool = False
    ) -> Published:
        where = {**self.repo, "revision": changes.revision, "create_pr": create_pr}
        additions = [CommitOperationAdd(path, self.files[path]) for path in (*changes.added, *changes.changed)]
        # Apart from the commit, since the client repeats these requests itself.
        self.api.preupload_lfs_files(additions=additions, **where)
        operations = [*additions, *(CommitOperationDelete(path, is_folder=False) for path in changes.deleted)]
        num_attempts = 0

        def attempt() -> Published:
            nonlocal num_attempts
            num_attempts += 1
            # The commit may have been made and only its answer lost.
            found = find() if num_attempts > 1 else None
            if found is not None:
                return found
            made = self.api.create_commit(
                operations=operations, commit_message=message, parent_commit=changes.head, **where
            )
            return Published(made.oid, changes, made.pr_url)

        return patiently(attempt, after_cuts=True)


def _client(api: HfApi | None) -> HfApi:
    api = api or HfApi()
    if api.token is None and get_token() is None:
        raise LocalTokenNotFoundError(
            "There is no token for the Hub: log in with `hf auth login`, or set HF_TOKEN, with a token that may write."
        )
    return api


def _local_files(folder: Path) -> dict[str, Path]:
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    if not files:
        raise FileNotFoundError(f"There are no files to publish in {folder}.")
    return files


def _is_same(file: Path, size: int, remote: RepoFile) -> bool:
    if size != remote.size:
        return False
    if remote.lfs is None:
        return git_hash(file.read_bytes()) == remote.blob_id
    with file.open("rb") as stream:
        return sha_fileobj(stream).hex() == remote.lfs.sha256
