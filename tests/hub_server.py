# SPDX-License-Identifier: Apache-2.0
"""
A local Hub: what the client of huggingface_hub asks for, over HTTP, with everything in memory.

Start it with `with HubServer() as hub`, give names to tokens with `hub.add_user`, point the client at it with
`HfApi(endpoint=hub.url, token=...)` or `HF_ENDPOINT`, and let requests fail with `hub.faults.append(Fault(...))`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from threading import Event, RLock, Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from hub_repos import DATE, HubError, Repo, folder_info, repo_not_found

TYPES = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass
class Fault:
    """
    What goes wrong with requests of `method` whose path matches the pattern `path`, from the one after `skip` others,
    `times` times: they wait `delay` seconds, with `is_silent` until the server ends; get `status` with `headers` and
    `message`, or a `page`; are cut when `cut_after` bytes of their body, or without one of the answer, have passed.
    With `is_done` they are carried out all the same, and get `status` or no answer.
    """

    method: str
    path: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "An error that was asked for"
    page: str | None = None
    cut_after: int | None = None
    is_done: bool = False
    delay: float = 0.0
    is_silent: bool = False
    skip: int = 0
    times: int = 1

    def takes(self, method: str, path: str) -> bool:
        if method != self.method or not re.search(self.path, path) or self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class User(NamedTuple):
    name: str
    can_write: bool = True


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    user: User | None

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Response:
    status: int = 200
    body: bytes | dict[str, Any] | list[Any] = b""
    headers: dict[str, str] = field(default_factory=dict)


class HubServer:
    """
    Args:
        part_bytes (`int`, *optional*, defaults to 64 MiB):
            Large files above this size are uploaded in parts.
    """

    def __init__(self, part_bytes: int = 64 * 1024 * 1024) -> None:
        self.part_bytes = part_bytes
        self.users: dict[str, User] = {}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.parts: dict[tuple[str, int], bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.lock = RLock()
        self.ended = Event()
        self.http = _Http(self)

    def __enter__(self) -> HubServer:
        Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self.http.shutdown()
        self.http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"

    @property
    def storage_url(self) -> str:
        """Another host name for large files: the client must not send its token there."""
        return f"http://localhost:{self.http.server_port}"

    def add_user(self, token: str, name: str, *, can_write: bool = True) -> None:
        self.users[token] = User(name, can_write)

    def repo(self, repo_id: str, repo_type: str = "model") -> Repo:
        return self.repos[repo_type, repo_id]

    def count(self, method: str, path: str) -> int:
        """How many requests there were of this method and pattern."""
        return sum(method == was and re.search(path, where) is not None for was, where in self.requests)

    def fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests.append((method, path))
            return next((fault for fault in self.faults if fault.takes(method, path)), None)

    def user(self, headers: dict[str, str]) -> User | None:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.users:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.users.get(token)

    def answer(self, request: Request) -> Response:
        for method, pattern, reply in ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method:
                with self.lock:
                    return reply(
                        self, request, **{name: unquote(text or "") for name, text in match.groupdict().items()}
                    )
        raise HubError(404, f"No such page: {request.method} {request.path}")

    def find(self, request: Request, kind: str, name: str, *, write: bool = False) -> Repo:
        repo = self.repos.get((TYPES[kind or "models"], name))
        if repo is None or (repo.private and not _owns(request.user, name)):
            raise repo_not_found(401 if request.user is None else 404)
        if write:
            _check_write(request.user, name)
        return repo


def _owns(user: User | None, name: str) -> bool:
    return user is not None and user.name == name.split("/")[0]


def _check_write(user: User | None, name: str) -> None:
    if user is None:
        raise HubError(401, "Invalid username or password.")
    if not _owns(user, name) or not user.can_write:
        raise HubError(403, f"You don't have the rights to write under the namespace {name.split('/')[0]!r}")


def _create_repo(hub: HubServer, request: Request) -> Response:
    asked = request.json()
    if request.user is None:
        raise HubError(401, "Invalid username or password.")
    name = f"{asked.get('organization') or request.user.name}/{asked['name']}"
    _check_write(request.user, name)
    kind = asked.get("type", "model")
    url = f"{hub.url}/{'' if kind == 'model' else kind + 's/'}{name}"
    if (kind, name) in hub.repos:
        raise HubError(409, "You already created this repo", url=url)
    private = asked.get("visibility") == "private" or bool(asked.get("private"))
    hub.repos[kind, name] = Repo(name, kind, private, asked.get("sdk"))
    return Response(200, {"url": url, "name": name})


def _validate_yaml(hub: HubServer, request: Request) -> Response:
    parts = request.json()["content"].split("---\n")
    try:
        yaml.safe_load(parts[1] if len(parts) > 2 else "")
    except yaml.YAMLError as error:
        return Response(400, {"errors": [{"message": str(error)}], "warnings": []})
    return Response(200, {"errors": [], "warnings": []})


def _info(hub: HubServer, request: Request, kind: str, name: str, revision: str) -> Response:
    return Response(200, hub.find(request, kind, name).info(revision or "main"))


def _settings(hub: HubServer, request: Request, kind: str, name: str) -> Response:
    repo = hub.find(request, kind, name, write=True)
    repo.private = request.json()["visibility"] == "private"
    return Response(200, {"private": repo.private})


def _preupload(hub: HubServer, request: Request, kind: str, name: str, revision: str) -> Response:
    repo = hub.find(request, kind, name, write="create_pr" not in request.query)
    known = repo.at(revision).files
    files = [
        {
            "path": file["path"],
            "uploadMode": repo.upload_mode(file["path"], file["size"], revision),
            "shouldIgnore": False,
            "oid": known[file["path"]].etag if file["path"] in known else None,
        }
        for file in request.json()["files"]
    ]
    return Response(200, {"files": files})


def _lfs_batch(hub: HubServer, request: Request, kind: str, name: str) -> Response:
    repo = hub.find(request, kind, name)
    objects = []
    for wanted in request.json()["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        entry = {"oid": oid, "size": size}
        if oid not in repo.lfs:
            place = f"{kind or 'models'}/{name}/{oid}"
            upload: dict[str, Any] = {"href": f"{hub.storage_url}/lfs-upload/{place}"}
            if size > hub.part_bytes:
                numbers = range(1, -(-size // hub.part_bytes) + 1)
                upload["header"] = {str(number): f"{hub.storage_url}/lfs-part/{place}/{number}" for number in numbers}
                upload["header"]["chunk_size"] = str(hub.part_bytes)
                upload["href"] = f"{hub.url}/lfs-complete/{place}"
            entry["actions"] = {"upload": upload, "verify": {"href": f"{hub.url}/lfs-verify/{place}"}}
        objects.append(entry)
    return Response(200, {"transfer": "basic", "objects": objects})


def _lfs_upload(hub: HubServer, request: Request, kind: str, name: str, oid: str) -> Response:
    from hashlib import sha256

    if sha256(request.body).hexdigest() != oid:
        raise HubError(400, "The content does not have this sha256")
    hub.repos[TYPES[kind], name].lfs[oid] = request.body
    return Response(200)


def _lfs_part(hub: HubServer, request: Request, kind: str, name: str, oid: str, number: str) -> Response:
    hub.parts[oid, int(number)] = request.body
    return Response(200, b"", {"ETag": f'"{oid}-{number}"'})


def _lfs_complete(hub: HubServer, request: Request, kind: str, name: str, oid: str) -> Response:
    data = b"".join(hub.parts[oid, part["partNumber"]] for part in request.json()["parts"])
    return _lfs_upload(hub, request._replace(body=data), kind, name, oid)


def _lfs_verify(hub: HubServer, request: Request, kind: str, name: str, oid: str) -> Response:
    repo = hub.find(request, kind, name)
    if len(repo.lfs.get(oid, b"")) != request.json()["size"]:
        raise HubError(404, "The object has not arrived")
    return Response(200, {})


def _commit(hub: HubServer, request: Request, kind: str, name: str, revision: str) -> Response:
    create_pr = "create_pr" in request.query
    repo = hub.find(request, kind, name, write=not create_pr)
    if request.user is None:
        raise HubError(401, "Invalid username or password.")
    header, *lines = [json.loads(line) for line in request.body.splitlines()]
    base, title = repo.at(revision), header["value"]["summary"]
    if header["value"].get("parentCommit", base.oid) != base.oid:
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = repo.apply(lines, revision)
    ref = repo.ref(revision)
    if create_pr:
        number = len(repo.pulls) + 1
        ref = f"refs/pr/{number}"
        pull = {"title": title, "num": number, "author": {"name": request.user.name}, "createdAt": DATE}
        repo.pulls.append(pull | {"status": "draft", "isPullRequest": True, "repo": {"name": name, "type": repo.type}})
    elif ref is None or ref.startswith("refs/tags/"):
        raise HubError(404, f"Not a branch: {revision}", "RevisionNotFound")
    commit = repo.commit(str(ref), title, files, base.oid)
    page = f"{hub.url}/{'' if kind == 'models' else kind + '/'}{name}"
    reply = {"success": True, "commitOid": commit.oid, "commitUrl": f"{page}/commit/{commit.oid}", "hookOutput": ""}
    return Response(200, reply | ({"pullRequestUrl": f"{page}/discussions/{number}"} if create_pr else {}))


def _tree(hub: HubServer, request: Request, kind: str, name: str, revision: str, folder: str) -> Response:
    recursive = request.query.get("recursive", ["false"])[0].lower() in ("true", "1")
    return Response(200, hub.find(request, kind, name).tree(revision, folder, recursive))


def _paths_info(hub: HubServer, request: Request, kind: str, name: str, revision: str) -> Response:
    files = hub.find(request, kind, name).at(revision).files
    found = []
    for path in parse_qs(request.body.decode()).get("paths", []):
        if path in files:
            found.append(files[path].info(path))
        elif any(other.startswith(path.rstrip("/") + "/") for other in files):
            found.append(folder_info(path))
    return Response(200, found)


def _refs(hub: HubServer, request: Request, kind: str, name: str) -> Response:
    return Response(200, hub.find(request, kind, name).list_refs())


def _tag(hub: HubServer, request: Request, kind: str, name: str, revision: str) -> Response:
    repo = hub.find(request, kind, name, write=True)
    ref = f"refs/tags/{request.json()['tag']}"
    if ref in repo.refs:
        raise HubError(409, "Tag reference exists already")
    repo.refs[ref] = repo.at(revision).oid
    return Response(200, {})


def _branch(hub: HubServer, request: Request, kind: str, name: str, branch: str) -> Response:
    repo = hub.find(request, kind, name, write=True)
    if f"refs/heads/{branch}" in repo.refs:
        raise HubError(409, "Reference already exists")
    repo.refs[f"refs/heads/{branch}"] = repo.at(request.json().get("startingPoint", "main")).oid
    return Response(200, {})


def _discussions(hub: HubServer, request: Request, kind: str, name: str) -> Response:
    pulls = hub.find(request, kind, name).pulls
    status = request.query.get("status", ["all"])[0]
    pulls = [pull for pull in pulls if status == "all" or (pull["status"] in ("open", "draft")) == (status == "open")]
    return Response(200, {"count": len(pulls), "start": 0, "discussions": pulls})


def _resolve(hub: HubServer, request: Request, kind: str, name: str, revision: str, path: str) -> Response:
    commit = hub.find(request, kind, name).at(revision)
    headers = {"X-Repo-Commit": commit.oid}
    blob = commit.files.get(path)
    if blob is None:
        return Response(404, {"error": "Entry not found"}, headers | {"X-Error-Code": "EntryNotFound"})
    headers |= {"ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
    if not blob.lfs:
        return _content(request, blob.data, headers)
    headers |= {"X-Linked-Etag": f'"{blob.etag}"', "X-Linked-Size": str(len(blob.data))}
    place = f"{hub.storage_url}/lfs/{kind or 'models'}/{name}/{blob.sha256}"
    return Response(302, b"", headers | {"Location": place})


def _lfs_download(hub: HubServer, request: Request, kind: str, name: str, oid: str) -> Response:
    if "authorization" in request.headers:
        raise HubError(400, "The token was sent to the storage of large files")
    return _content(request, hub.repos[TYPES[kind], name].lfs[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})


def _content(request: Request, data: bytes, headers: dict[str, str]) -> Response:
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if wanted is None:
        return Response(200, data, headers)
    first, last = wanted.groups()
    start = int(first) if first else max(len(data) - int(last), 0)
    stop = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= len(data):
        return Response(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
    return Response(206, data[start:stop], headers | {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"})


def _create_collection(hub: HubServer, request: Request) -> Response:
    asked = request.json()
    owner = asked["namespace"]
    _check_write(request.user, f"{owner}/")
    slug = f"{owner}/{re.sub('[^a-z0-9]+', '-', asked['title'].lower())}-{len(owner):024x}"
    if slug in hub.collections:
        raise HubError(409, "This collection exists already", slug=slug)
    hub.collections[slug] = {
        "slug": slug,
        "title": asked["title"],
        "description": asked.get("description"),
        "owner": {"name": owner},
        "items": [],
        "lastUpdated": DATE,
        "position": 0,
        "private": asked["private"],
        "theme": "blue",
        "upvotes": 0,
    }
    return Response(200, hub.collections[slug])


def _collection(hub: HubServer, request: Request, slug: str) -> Response:
    if slug not in hub.collections:
        raise HubError(404, "Collection not found")
    return Response(200, hub.collections[slug])


def _update_collection(hub: HubServer, request: Request, slug: str) -> Response:
    _check_write(request.user, slug)
    hub.collections[slug].update(request.json())
    return Response(200, {"data": hub.collections[slug]})


def _add_item(hub: HubServer, request: Request, slug: str) -> Response:
    _check_write(request.user, slug)
    items, item = hub.collections[slug]["items"], request.json()["item"]
    hub.find(request, f"{item['type']}s", item["id"])
    if any((known["id"], known["type"]) == (item["id"], item["type"]) for known in items):
        raise HubError(409, "Item already in collection")
    items.append({"_id": f"{len(items):024x}", "id": item["id"], "type": item["type"], "position": len(items)})
    return Response(200, hub.collections[slug])


_REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"
_PLACE = r"/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})"
_REVISION = r"(?P<revision>[^/]+)"
_SLUG = r"/api/collections/(?P<slug>[^/]+/[^/]+)"

ROUTES: list[tuple[str, str, Callable[..., Response]]] = [
    ("POST", "/api/repos/create", _create_repo),
    ("POST", "/api/validate-yaml", _validate_yaml),
    ("GET", f"{_REPO}(?:/revision/{_REVISION})?", _info),
    ("PUT", f"{_REPO}/settings", _settings),
    ("POST", f"{_REPO}/preupload/{_REVISION}", _preupload),
    ("POST", f"{_REPO}/commit/{_REVISION}", _commit),
    ("GET", f"{_REPO}/tree/{_REVISION}(?:/(?P<folder>.*))?", _tree),
    ("POST", f"{_REPO}/paths-info/{_REVISION}", _paths_info),
    ("GET", f"{_REPO}/refs", _refs),
    ("POST", f"{_REPO}/tag/{_REVISION}", _tag),
    ("POST", f"{_REPO}/branch/(?P<branch>[^/]+)", _branch),
    ("GET", f"{_REPO}/discussions", _discussions),
    ("POST", f"{_PAGE}\\.git/info/lfs/objects/batch", _lfs_batch),
    ("PUT", f"/lfs-upload{_PLACE}", _lfs_upload),
    ("PUT", f"/lfs-part{_PLACE}/(?P<number>[0-9]+)", _lfs_part),
    ("POST", f"/lfs-complete{_PLACE}", _lfs_complete),
    ("POST", f"/lfs-verify{_PLACE}", _lfs_verify),
    ("GET", f"/lfs{_PLACE}", _lfs_download),
    ("GET", f"{_PAGE}/resolve/{_REVISION}/(?P<path>.+)", _resolve),
    ("POST", "/api/collections", _create_collection),
    ("GET", _SLUG, _collection),
    ("PATCH", _SLUG, _update_collection),
    ("POST", f"{_SLUG}/items", _add_item),
]


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: HubServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"
    # Headers and body are sent one after the other: together they would wait for the client's word, 40 ms each time.
    disable_nagle_algorithm = True

    def handle_request(self) -> None:
        where = urlsplit(self.path)
        fault = self.server.hub.fault(self.command, where.path)
        if fault:
            time.sleep(fault.delay)
        if fault and fault.is_silent:
            self.server.hub.ended.wait()
            return self.cut()
        has_body = self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers
        cut_after = fault.cut_after if fault else None
        if cut_after is not None and has_body:
            self.rfile.read(cut_after)
            return self.cut()
        body = self.read_body()
        if fault and fault.is_done:
            self.answer(where.path, parse_qs(where.query, keep_blank_values=True), body)
            if fault.status is None:
                return self.cut()
        if fault and fault.status:
            said = {"error": fault.message} if fault.page is None else fault.page.encode()
            return self.send(Response(fault.status, said, fault.headers))
        response = self.answer(where.path, parse_qs(where.query, keep_blank_values=True), body)
        return self.send(response, cut_after)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request  # noqa: N815

    def answer(self, path: str, query: dict[str, list[str]], body: bytes) -> Response:
        headers = {name.lower(): value for name, value in self.headers.items()}
        method = "GET" if self.command == "HEAD" else self.command
        try:
            user = self.server.hub.user(headers)
            return self.server.hub.answer(Request(method, path, query, headers, body, user))
        except HubError as error:
            code = {"X-Error-Code": error.code} if error.code else {}
            return Response(error.status, error.body, {"X-Error-Message": str(error), **code})

    def read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def send(self, response: Response, cut_after: int | None = None) -> None:
        is_json = not isinstance(response.body, bytes)
        data = json.dumps(response.body).encode() if is_json else response.body
        assert isinstance(data, bytes)
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if is_json:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:cut_after])
        if cut_after is not None:
            self.cut()

    def cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        pass
