"""A small Hugging Face Hub on 127.0.0.1 for the real clients: repositories with commits, and failures on demand."""

import base64
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import datasets
import pytest
from huggingface_hub import constants, file_download, hf_api
from huggingface_hub.utils import _http, disable_progress_bars, enable_progress_bars

TOKENS = {"hf_ash": "ash", "hf_misty": "misty"}  # of users, who may write in the namespace of their name
REPOSITORY = r"(?P<kind>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)"
# Pages of models have no prefix; "datasets/..." is not a model of the user "datasets".
PAGE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<id>(?!(?:api|datasets|spaces|lfs)/)[^/]+/[^/]+?)"
ROUTES: list[tuple[str, re.Pattern, Callable]] = []


class HubFailure(Exception):
    """An answer with an error status and the code by which the clients choose their exception."""

    def __init__(self, status: int, message: str, code: str = ""):
        super().__init__(message)
        self.status, self.headers = status, {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}


def is_large(path: str, content: bytes) -> bool:
    """Whether a file is in the large file storage (LFS), as the Hub has it for these and all binary files."""
    return path.endswith((".parquet", ".safetensors")) or b"\0" in content[:512]


def oid(path: str, content: bytes) -> str:
    """SHA-256 in the large file storage, in git the id of the blob."""
    if is_large(path, content):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Commit(NamedTuple):
    id: str
    title: str
    files: Mapping[str, bytes]  # by path


@dataclass
class Repository:
    """A repository with its history. Only its owner can see a private one."""

    id: str
    type: str = "model"
    private: bool = False
    sdk: str | None = None  # of a Space
    commits: dict[str, Commit] = field(default_factory=dict)  # by id
    names: dict[str, str] = field(default_factory=dict)  # branch or tag -> id of a commit
    objects: dict[str, bytes] = field(default_factory=dict)  # the large file storage, by SHA-256

    def __post_init__(self):
        self.commit({".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")

    @property
    def titles(self) -> list[str]:
        """Of the commits after the initial one, the newest first."""
        return [commit.title for commit in self.commits.values()][:0:-1]

    def at(self, revision: str = "main") -> Commit:
        commit = self.names.get(revision, revision)
        if commit not in self.commits:
            raise HubFailure(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[commit]

    def files(self) -> dict[str, bytes]:
        """Path -> content, without .gitattributes, which the Hub creates."""
        return {path: content for path, content in self.at().files.items() if path != ".gitattributes"}

    def commit(self, changes: Mapping[str, bytes | None], title: str = "A commit", parent: str = "") -> Commit:
        """Adds a commit to main, which must be at `parent` if that is given; None in `changes` deletes a file."""
        main = self.names.get("main", "")
        if parent not in ("", main):
            raise HubFailure(412, f"main is at {main}, not at {parent}. Please refresh and try again.")
        files = {**(self.at().files if main else {}), **changes}
        files = {path: content for path, content in files.items() if content is not None}
        content = [main, title, sorted((path, oid(path, file)) for path, file in files.items())]
        commit = Commit(hashlib.sha1(json.dumps(content).encode()).hexdigest(), title, files)
        self.commits[commit.id], self.names["main"] = commit, commit.id
        return commit


class Request(NamedTuple):
    target: str  # path with query
    user: str | None
    body: bytes

    def check_write(self, id: str) -> None:
        if self.user != id.split("/")[0]:
            raise HubFailure(403 if self.user else 401, f"You don't have the rights to write {id}")


class Answer(NamedTuple):
    body: bytes | dict | list = b""  # is sent as JSON unless it is bytes
    headers: Mapping[str, str] = {}
    status: int = 200


def route(method: str, pattern: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Registers a method of `LoopbackHub` for paths; the groups of the pattern become its arguments."""

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


class LoopbackHub:
    """A Hub on 127.0.0.1; `endpoint` is the URL for HF_ENDPOINT.

    Requests are "METHOD /path?query", in which a regular expression, `which`, is searched.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}  # by type and id
        self.requests: list[str] = []
        self.failures: dict[str, int] = {}  # `which` -> the status of an answer without effect
        # `which` and what is called once, after a request has had its effect and before it is answered.
        self.meanwhile: tuple[str, Callable[[], object]] | None = None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuses connections from now on."""
        self._server.shutdown()
        self._server.server_close()

    def repository(self, id: str, type: str = "model") -> Repository:
        return self.repositories[type, id]

    def create(self, id: str, type: str = "model", **options: object) -> Repository:
        """Creates a repository without a client; for the options see `Repository`."""
        made = self.repositories[type, id] = Repository(id, type, **options)
        return made

    def asked(self, which: str) -> list[str]:
        """The requests until now that match."""
        return [request for request in self.requests if re.search(which, request)]

    def respond(self, method: str, request: Request) -> Answer:
        line = f"{method} {request.target}"
        with self._lock:
            self.requests.append(line)
            try:
                if statuses := [status for which, status in self.failures.items() if re.search(which, line)]:
                    raise HubFailure(statuses[0], "made to fail")
                answer = self._answer(method, request)
                if self.meanwhile and re.search(self.meanwhile[0], line):
                    (_, act), self.meanwhile = self.meanwhile, None
                    act()
                return answer
            except HubFailure as failure:
                return Answer({"error": str(failure)}, failure.headers, failure.status)

    def _answer(self, method: str, request: Request) -> Answer:
        for known, pattern, function in ROUTES:
            match = pattern.fullmatch(urlsplit(request.target).path)
            if match and known == method.replace("HEAD", "GET"):
                given = {key: value and unquote(value) for key, value in match.groupdict().items()}
                return function(self, request, **given)
        raise HubFailure(404, f"The loopback Hub has no {method} {request.target}")

    def _open(self, request: Request, kind: str | None, id: str, write: bool = False) -> Repository:
        """The repository of a path, if the user may see it or write in it."""
        repository = self.repositories.get(((kind or "models").removesuffix("s"), id))
        if repository is None or (repository.private and request.user != id.split("/")[0]):
            # The Hub does not say that a private repository exists. The clients take a bare 401 for a missing
            # repository only from a Hub with https.
            raise HubFailure(404 if request.user else 401, "Repository not found", "RepoNotFound")
        if write:
            request.check_write(id)
        return repository

    def _page(self, repository: Repository) -> str:
        prefix = "" if repository.type == "model" else f"{repository.type}s/"
        return f"{self.endpoint}/{prefix}{repository.id}"

    @route("POST", "/api/repos/create")
    def create_repo(self, request: Request) -> Answer:
        wanted = json.loads(request.body)
        kind, id = wanted.get("type", "model"), f"{wanted.get('organization') or request.user}/{wanted['name']}"
        request.check_write(id)
        if not (exists := (kind, id) in self.repositories):
            self.create(id, kind, private=wanted.get("visibility") == "private", sdk=wanted.get("sdk"))
        body = {"url": self._page(self.repository(id, kind)), "name": id, "id": id}
        return Answer(body, status=409 if exists else 200)

    @route("GET", f"/api/{REPOSITORY}/auth-check/write")
    def auth_check(self, request: Request, kind: str, id: str) -> Answer:
        self._open(request, kind, id, write=True)
        return Answer({})

    @route("GET", f"/api/{REPOSITORY}(?:/revision/(?P<revision>[^/]+))?")
    def info(self, request: Request, kind: str, id: str, revision: str | None) -> Answer:
        repository = self._open(request, kind, id)
        commit = repository.at(revision or "main")
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        return Answer({"_id": "0", "id": id, "sha": commit.id, "private": repository.private, "siblings": siblings})

    @route("GET", f"/api/{REPOSITORY}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?")
    def tree(self, request: Request, kind: str, id: str, revision: str, folder: str | None) -> Answer:
        commit, prefix = self._open(request, kind, id).at(revision), f"{folder}/" if folder else ""
        entries = {}
        for path, content in commit.files.items():
            known = {"oid": oid(path, content), "size": len(content)}
            for name in [parent.as_posix() for parent in Path(path).parents][:-1]:
                entries[name] = {**known, "type": "directory", "size": 0, "path": name}
            lfs = {"lfs": {**known, "pointerSize": 134}} if is_large(path, content) else {}
            entries[path] = {**known, **lfs, "type": "file", "path": path}
        recursive = re.search("[?&]recursive=(true|1)", request.target, re.IGNORECASE)
        inside = [entries[name] for name in sorted(entries) if name.startswith(prefix)]
        if prefix and not inside:
            raise HubFailure(404, f"{folder} does not exist", "EntryNotFound")
        return Answer([entry for entry in inside if recursive or "/" not in entry["path"].removeprefix(prefix)])

    @route("GET", f"{PAGE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, request: Request, kind: str | None, id: str, revision: str, path: str) -> Answer:
        commit = self._open(request, kind, id).at(revision)
        if path not in commit.files:
            raise HubFailure(404, f"{path} does not exist", "EntryNotFound")
        content = commit.files[path]
        return Answer(content, {"ETag": f'"{oid(path, content)}"', "X-Repo-Commit": commit.id})

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self, request: Request) -> Answer:
        return Answer({"errors": [], "warnings": []})

    @route("POST", f"/api/{REPOSITORY}/preupload/main")
    def preupload(self, request: Request, kind: str, id: str) -> Answer:
        present, files = self._open(request, kind, id, write=True).at().files, []
        for wanted in json.loads(request.body)["files"]:
            path = wanted["path"]
            mode = "lfs" if is_large(path, base64.b64decode(wanted.get("sample") or "")) else "regular"
            known = {"oid": oid(path, present[path])} if path in present else {}  # what has not changed is left out
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **known})
        return Answer({"files": files})

    @route("POST", rf"{PAGE}\.git/info/lfs/objects/batch")
    def lfs_batch(self, request: Request, kind: str | None, id: str) -> Answer:
        repository = self._open(request, kind, id, write=True)
        objects = [{"oid": file["oid"], "size": file["size"]} for file in json.loads(request.body)["objects"]]
        for wanted in objects:
            if wanted["oid"] not in repository.objects:
                wanted["actions"] = {"upload": {"href": f"{self.endpoint}/lfs/{repository.type}s/{id}"}}
        return Answer({"transfer": "basic", "objects": objects})

    @route("PUT", f"/lfs/{REPOSITORY}")
    def lfs_upload(self, request: Request, kind: str, id: str) -> Answer:
        """Needs no token: the Hub gives the address to whoever may write."""
        objects = self.repository(id, kind.removesuffix("s")).objects
        objects[hashlib.sha256(request.body).hexdigest()] = request.body
        return Answer()

    @route("POST", f"/api/{REPOSITORY}/commit/main")
    def commit(self, request: Request, kind: str, id: str) -> Answer:
        repository, header, changes = self._open(request, kind, id, write=True), {}, {}
        for entry in map(json.loads, request.body.splitlines()):
            value = entry["value"]
            match entry["key"]:
                case "header":
                    header = value
                case "file":
                    changes[value["path"]] = base64.b64decode(value["content"], validate=True)
                case "lfsFile":
                    changes[value["path"]] = repository.objects[value["oid"]]
                case "deletedFile":
                    changes[value["path"]] = None
        made = repository.commit(changes, header["summary"], header.get("parentCommit") or "")
        url = f"{self._page(repository)}/commit/{made.id}"
        return Answer({"success": True, "commitOid": made.id, "commitUrl": url, "hookOutput": ""})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two packets
    hub: LoopbackHub

    def log_message(self, *_: object) -> None:
        pass

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        answer = self.hub.respond(self.command, Request(self.path, TOKENS.get(token), body))
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = serve


@contextlib.contextmanager
def serve_this_process(patch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub for the clients of this process, logged in as ash, with an empty cache. They try again without waiting."""
    hub = LoopbackHub()
    with tempfile.TemporaryDirectory() as cache:
        # Only for the clients: others sleep as well.
        clock = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
        page = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for home, name, value in (
            (constants, "ENDPOINT", hub.endpoint), (constants, "HF_HUB_CACHE", cache),
            (constants, "HF_HUB_DISABLE_XET", True), (constants, "HF_HUB_OFFLINE", False),
            (constants, "HUGGINGFACE_CO_URL_TEMPLATE", page), (hf_api.api, "endpoint", hub.endpoint),
            (datasets.config, "HF_ENDPOINT", hub.endpoint), (_http, "time", clock), (file_download, "time", clock),
        ):  # fmt: skip
            patch.setattr(home, name, value)
        patch.setenv("HF_TOKEN", "hf_ash")
        disable_progress_bars()
        yield hub
        enable_progress_bars()
    hub.stop()


def environment(folder: Path, endpoint: str, token: str = "") -> dict[str, str]:
    """The environment variables of a process that uses a `LoopbackHub` and has its caches below a folder."""
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf_home"), "HF_TOKEN": token}
    settings |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")
    # Without Xet, since large files would go to another server.
    return settings | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


def stranger(code: str, environment: Mapping[str, str], folder: Path, *arguments: object) -> str:
    """The output of code in a process that cannot import `pokemon_ddpm`, with additional environment variables."""
    without = "import sys; sys.modules['pokemon_ddpm'] = None\n"  # it could import the editable installation
    command = [sys.executable, "-I", "-c", without + code, *map(str, arguments)]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
