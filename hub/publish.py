# SPDX-License-Identifier: Apache-2.0
"""
Publish a staged folder to the Hub: one commit that makes the repository equal to the folder, or none.

The token is that of `HF_TOKEN` or of `hf auth login`; no function takes one, and no message contains it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash, sha_fileobj

from trainer_ext.errors import InputError

from .retry import LONGEST_SILENCE, is_silence, limit_silence, requested_wait, retry

# The Hub writes it when a repository is created; it says which files are large.
_KEPT = frozenset({".gitattributes"})


@dataclass(frozen=True)
class Plan:
    """
    The changes that one commit would make to a repository.

    Args:
        repo_id, repo_type, revision (`str`): As of [`publish`].
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
    """The commit that has the files; the changes that it made; the address of its pull request, if it is in one."""

    commit: str
    plan: Plan
    pull_request: str | None = None


def local_plan(folder: Path, repo_id: str, repo_type: str, *, revision: str = "main", private: bool = True) -> Plan:
    """The plan of [`publish`] for a repository that does not exist, without a look at the Hub."""
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
    """Compare a folder with a repository, and change nothing; arguments and errors as of [`publish`]."""
    branch = _Branch(api, folder, local_plan(folder, repo_id, repo_type, revision=revision, private=private))
    with _clear_errors(branch.api, branch.name):
        return retry(branch.compare)


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
        `FileNotFoundError`: If the folder is missing or has no files.
        `LocalTokenNotFoundError`: If there is no token.
        `PermissionError`: If the Hub does not accept the token, or the token lacks write access.
        `ConnectionError`: If there is no connection, or the Hub fails or limits the rate.
        `InputError`: If the tag is on another commit or for a pull request, a pull request has no target, someone else
            has changed the repository, or the Hub refuses the request.
    """
    if tag and create_pr:
        raise InputError("A pull request gets no tag: give `tag` when it is merged.")
    branch = _Branch(api, folder, local_plan(folder, repo_id, repo_type, revision=revision))
    with _clear_errors(branch.api, branch.name):
        changes = retry(branch.compare)
        if create_pr:
            return branch.open_pull_request(changes, message)
        if tag:
            retry(lambda: branch.check_tag(changes, tag))
        changes = retry(lambda: branch.create(changes))
        commit = branch.commit(changes, message)
        retry(lambda: branch.finish(commit, tag, make_public=changes.private and not private))
        return Published(commit, changes)


def add_to_collection(
    title: str,
    namespace: str,
    items: Sequence[tuple[str, str]],
    *,
    private: bool = True,
    api: HfApi | None = None,
) -> str:
    """
    Tie repositories together in a collection, which is created if there is none; its other items stay.

    Args:
        title (`str`): The title of the collection.
        namespace (`str`): Its user or organisation.
        items (`Sequence[tuple[str, str]]`): The id and the type of each repository.
        private, api: As of [`publish`], and so are the errors.

    Returns:
        `str`: The slug of the collection.
    """
    client = _client(api)

    def fill() -> str:
        collection = client.create_collection(title, namespace=namespace, private=private, exists_ok=True)
        for item in items:
            client.add_collection_item(collection.slug, *item, exists_ok=True)
        if collection.private and not private:
            client.update_collection_metadata(collection.slug, private=False)
        return str(collection.slug)

    with _clear_errors(client, f"collection {title}"):
        return retry(fill)


class _Branch:
    """A branch of a repository and the folder that it is to equal. Errors are the client's; calls may be repeated."""

    def __init__(self, api: HfApi | None, folder: Path, local: Plan) -> None:
        self.api = _client(api)
        self.files = _local_files(folder)
        self.local = local
        self.repo = {"repo_id": local.repo_id, "repo_type": local.repo_type}
        self.name = f"{local.repo_type} {local.repo_id}"

    def compare(self) -> Plan:
        """The plan against the files that are on the Hub now."""
        is_new_branch = False
        try:
            try:
                info = self.api.repo_info(**self.repo, revision=self.local.revision)
            except RevisionNotFoundError:
                is_new_branch = True
                info = self.api.repo_info(**self.repo, revision="main")
        except RepositoryNotFoundError as error:
            # With 401 the Hub says that it does not know who asks.
            if error.response.status_code == 401:
                raise
            return self.local
        local = replace(self.local, head=info.sha, private=info.private, is_new_branch=is_new_branch)
        return self._compare_with(local, str(info.sha))

    def check_tag(self, changes: Plan, tag: str) -> None:
        """Refuse, before anything is changed, to move a version that is out."""
        refs = [] if changes.head is None else self.api.list_repo_refs(**self.repo).tags
        tagged = next((ref.target_commit for ref in refs if ref.name == tag), None)
        if tagged is not None and not (changes.is_empty and tagged == changes.head):
            raise InputError(
                f"The tag {tag} of {changes.repo_id} is on commit {tagged[:7]} and does not move: give a new `tag`."
            )

    def create(self, changes: Plan) -> Plan:
        """Make the repository and the branch if they do not exist; the plan as it is then."""
        if changes.head is None:
            sdk = "gradio" if changes.repo_type == "space" else None
            self.api.create_repo(**self.repo, private=True, space_sdk=sdk, exist_ok=True)
            changes = self.compare()
        if changes.is_new_branch:
            self.api.create_branch(**self.repo, branch=changes.revision, revision=changes.head, exist_ok=True)
        return changes

    def commit(self, changes: Plan, message: str) -> str:
        """Make the branch equal to the folder; the id of the commit that is."""
        if changes.is_empty:
            return str(changes.head)
        operations = self._upload(changes)

        def attempt() -> str:
            try:
                return str(self._create_commit(changes, operations, message).oid)
            except HfHubHTTPError as error:
                # There is a new commit. It may be ours, if only the answer to an earlier attempt was lost.
                if error.response.status_code != 412 or not (current := self.compare()).is_empty:
                    raise
                return str(current.head)

        return retry(attempt, after_cuts=True)

    def open_pull_request(self, changes: Plan, message: str) -> Published:
        """The same in a pull request, unless an open one has these files already."""
        if changes.head is None or changes.is_new_branch:
            raise InputError(f"There is no {self.name} with the branch {changes.revision}.")
        if changes.is_empty:
            return Published(changes.head, changes)
        operations = self._upload(changes, create_pr=True)

        def attempt() -> Published:
            for pull in self.api.get_repo_discussions(
                **self.repo, discussion_type="pull_request", discussion_status="open"
            ):
                ref = f"refs/pr/{pull.num}"
                if self._compare_with(changes, ref).is_empty:
                    return Published(str(self.api.repo_info(**self.repo, revision=ref).sha), changes, pull.url)
            commit = self._create_commit(changes, operations, message, create_pr=True)
            return Published(commit.oid, changes, commit.pr_url)

        return retry(attempt, after_cuts=True)

    def finish(self, commit: str, tag: str | None, *, make_public: bool) -> None:
        """Name the commit, then let everyone see the repository."""
        if tag:
            self.api.create_tag(**self.repo, tag=tag, revision=commit, exist_ok=True)
        if make_public:
            self.api.update_repo_settings(**self.repo, private=False)

    def _compare_with(self, local: Plan, revision: str) -> Plan:
        entries = self.api.list_repo_tree(**self.repo, revision=revision, recursive=True)
        remote = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
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

    def _upload(self, changes: Plan, *, create_pr: bool = False) -> list[CommitOperationAdd | CommitOperationDelete]:
        additions = [CommitOperationAdd(path, self.files[path]) for path in (*changes.added, *changes.changed)]
        # Before the commit, which would do it too, since the client repeats these requests itself.
        self.api.preupload_lfs_files(additions=additions, **self.repo, revision=changes.revision, create_pr=create_pr)
        return [*additions, *(CommitOperationDelete(path, is_folder=False) for path in changes.deleted)]

    def _create_commit(self, changes: Plan, operations: list[Any], message: str, *, create_pr: bool = False) -> Any:
        return self.api.create_commit(
            operations=operations,
            commit_message=message,
            parent_commit=changes.head,
            **self.repo,
            revision=changes.revision,
            create_pr=create_pr,
        )


def _client(api: HfApi | None) -> HfApi:
    limit_silence()
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


@contextmanager
def _clear_errors(api: HfApi, about: str) -> Iterator[None]:
    """Errors of the Hub in one line that names `about` and a way to mend them, without the token."""
    try:
        yield
    # The client wraps the error of an upload; a Hub that is down may answer with a page instead of JSON.
    except (HTTPError, JSONDecodeError, RuntimeError, ValueError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, HTTPError | JSONDecodeError):
            cause = cause.__cause__
        if cause is None:
            raise
        clear = _clear_error(cause, api.endpoint)
        token = api.token if isinstance(api.token, str) else get_token()
        message = " ".join(f"{about}: {clear}".split())
        # Without the client's error, which may quote the request.
        raise type(clear)(message.replace(token, "<token>") if token else message) from None


def _clear_error(error: BaseException, endpoint: str) -> OSError | InputError:
    again = "A commit is made in whole or not at all: the same command finishes the job."
    response = getattr(error, "response", None)
    if is_silence(error):
        return ConnectionError(f"{endpoint} has said nothing for {LONGEST_SILENCE:g} seconds. {again}")
    if response is None:
        reason = str(error) or type(error).__name__
        return ConnectionError(f"No connection to {endpoint}, or it was cut ({reason}). {again}")
    status = response.status_code
    answer = getattr(error, "server_message", None) or f"status {status}"
    request = f"{response.request.method} {response.request.url.path}"
    if status == 401:
        return PermissionError(
            f"The Hub does not accept the token ({answer}): log in anew with `hf auth login`, or set HF_TOKEN."
        )
    if status == 403:
        return PermissionError(f"The token lacks write access ({answer}).")
    if status == 412:
        return InputError(
            "Someone else has changed the repository in between, and nothing was published: "
            "look at that change, then run the same command again."
        )
    if status == 429:
        wait = requested_wait(response.headers)
        when = "later" if wait is None else f"in {wait:.0f} seconds"
        return ConnectionError(f"The Hub limits the rate of requests: try again {when}. {again}")
    if status >= 500:
        return ConnectionError(f"The Hub failed at {request} ({status}: {answer}). {again}")
    return InputError(f"The Hub refused {request} ({status}: {answer}).")
