"""The Hub's answers to requests; no sockets."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tests.loopback_hub.repositories import File, HubFailure, Repository

REPOSITORY = r"(?P<kind>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)"
# Pages of models have no prefix; "datasets/..." is not a model of the user "datasets".
PAGE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<id>(?!(?:api|datasets|spaces|lfs)/)[^/]+/[^/]+?)"
ROUTES: list[tuple[str, re.Pattern, Callable[..., "Answer"]]] = []
TOKENS = {"hf_ash": "ash", "hf_misty": "misty"}  # of users, who may write in the namespace of their name
LFS_SUFFIXES = (".parquet", ".safetensors")  # the Hub puts these and all binary files into the large file storage


@dataclass(frozen=True)
class Request:
    method: str
    target: str  # path with query
    headers: dict[str, str]  # with lower-case names
    body: bytes


@dataclass
class Answer:
    """An answer; the body is sent as JSON unless it is bytes."""

    status: int = 200
    body: bytes | dict | list = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def route(method: str, pattern: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Registers a method of `Api` for paths; the groups of the pattern become its arguments."""

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


class Api:
    """Repositories, by type and id, and the answers to requests."""

    def __init__(self) -> None:
        self.endpoint = ""  # the URL that the answers name
        self.repositories: dict[tuple[str, str], Repository] = {}

    def repository(self, id: str, type: str = "model") -> Repository:
        return self.repositories[type, id]

    def create(self, id: str, type: str = "model", **options: object) -> Repository:
        """Creates a repository without a client; for the options see `Repository`."""
        self.repositories[type, id] = Repository(id, type, **options)
        return self.repositories[type, id]

    def answer(self, request: Request) -> Answer:
        """Answers a request; not thread-safe."""
        try:
            for method, pattern, function in ROUTES:
                found = pattern.fullmatch(urlsplit(request.target).path)
                if found and method == request.method.replace("HEAD", "GET"):
                    groups = {key: value and unquote(value) for key, value in found.groupdict().items()}
                    return function(self, request, **groups)
            raise HubFailure(404, f"The loopback Hub has no {request.method} {request.target}")
        except HubFailure as failure:
            return Answer(failure.status, {"error": str(failure)}, failure.headers)

    def _user(self, request: Request) -> str | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if token and token not in TOKENS:
            raise HubFailure(401, "Invalid credentials in Authorization header")
        return TOKENS.get(token)

    def _check_write(self, request: Request, id: str) -> None:
        user = self._user(request)
        if user != id.split("/")[0]:
            raise HubFailure(403 if user else 401, f"You don't have the rights to write {id}")

    def _open(self, request: Request, kind: str | None, id: str, write: bool = False) -> Repository:
        """The repository of a path, if the user may see it or write in it."""
        user, repository = self._user(request), self.repositories.get(((kind or "models").removesuffix("s"), id))
        if repository is None or (repository.private and user != id.split("/")[0]):
            # The Hub does not say that a private repository exists. The clients take a bare 401 for a missing
            # repository only from a Hub with https.
            raise HubFailure(404 if user else 401, "Repository not found", "RepoNotFound")
        if write:
            self._check_write(request, id)
        return repository

    def _page(self, repository: Repository) -> str:
        prefix = "" if repository.type == "model" else f"{repository.type}s/"
        return f"{self.endpoint}/{prefix}{repository.id}"

    @route("POST", "/api/repos/create")
    def create_repo(self, request: Request) -> Answer:
        wanted = json.loads(request.body)
        kind, id = wanted.get("type", "model"), f"{wanted.get('organization') or self._user(request)}/{wanted['name']}"
        self._check_write(request, id)
        exists = (kind, id) in self.repositories
        if not exists:
            self.create(id, kind, private=wanted.get("visibility") == "private", sdk=wanted.get("sdk"))
        return Answer(409 if exists else 200, {"url": self._page(self.repository(id, kind)), "name": id, "id": id})

    @route("GET", f"/api/{REPOSITORY}/auth-check/write")
    def auth_check(self, request: Request, kind: str, id: str) -> Answer:
        self._open(request, kind, id, write=True)
        return Answer(body={})

    @route("GET", f"/api/{REPOSITORY}(?:/revision/(?P<revision>[^/]+))?")
    def info(self, request: Request, kind: str, id: str, revision: str | None) -> Answer:
        repository = self._open(request, kind, id)
        commit = repository.at(revision or "main")
        body = {
            "_id": hashlib.sha1(f"{kind}/{id}".encode()).hexdigest()[:24],
            "id": id,
            "sha": commit.id,
            "private": repository.private,
            "gated": "auto" if repository.gated else False,
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
        }
        return Answer(body=body)

    @route("GET", f"/api/{REPOSITORY}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?")
    def tree(self, request: Request, kind: str, id: str, revision: str, folder: str | None) -> Answer:
        commit, prefix = self._open(request, kind, id).at(revision), f"{folder}/" if folder else ""
        entries = {}
        for path, file in commit.files.items():
            size, parts = len(file.content), path.split("/")
            for end in range(1, len(parts)):
                name = "/".join(parts[:end])
                entries[name] = {"type": "directory", "oid": file.oid, "size": 0, "path": name}
            entries[path] = {"type": "file", "oid": file.oid, "size": size, "path": path}
            if file.lfs:
                entries[path]["lfs"] = {"oid": file.oid, "size": size, "pointerSize": 134}
        recursive = re.search("[?&]recursive=(true|1)", request.target, re.IGNORECASE)
        inside = [entries[name] for name in sorted(entries) if name.startswith(prefix)]
        if prefix and not inside:
            raise HubFailure(404, f"{folder} does not exist", "EntryNotFound")
        return Answer(body=[each for each in inside if recursive or "/" not in each["path"].removeprefix(prefix)])

    @route("GET", f"{PAGE}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, request: Request, kind: str | None, id: str, revision: str, path: str) -> Answer:
        repository, user = self._open(request, kind, id), self._user(request)
        if repository.gated and user != id.split("/")[0]:
            raise HubFailure(403 if user else 401, f"Access to {id} is restricted.", "GatedRepo")
        commit = repository.at(revision)
        if path not in commit.files:
            raise HubFailure(404, f"{path} does not exist", "EntryNotFound", **{"X-Repo-Commit": commit.id})
        file = commit.files[path]
        return Answer(200, file.content, {"ETag": f'"{file.oid}"', "X-Repo-Commit": commit.id})

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self, request: Request) -> Answer:
        return Answer(body={"errors": [], "warnings": []})

    @route("POST", f"/api/{REPOSITORY}/preupload/main")
    def preupload(self, request: Request, kind: str, id: str) -> Answer:
        present, files = self._open(request, kind, id, write=True).at().files, []
        for wanted in json.loads(request.body)["files"]:
            path, sample = wanted["path"], base64.b64decode(wanted.get("sample") or "")
            mode = "lfs" if path.endswith(LFS_SUFFIXES) or b"\0" in sample else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False})
            if path in present:  # with which the clients leave out what has not changed
                files[-1]["oid"] = present[path].oid
        return Answer(body={"files": files})

    @route("POST", rf"{PAGE}\.git/info/lfs/objects/batch")
    def lfs_batch(self, request: Request, kind: str | None, id: str) -> Answer:
        repository = self._open(request, kind, id, write=True)
        objects = [{"oid": each["oid"], "size": each["size"]} for each in json.loads(request.body)["objects"]]
        for wanted in objects:
            if wanted["oid"] not in repository.objects:
                address = f"{self.endpoint}/lfs/{repository.type}s/{id}"
                wanted["actions"] = {"upload": {"href": address}}
        return Answer(body={"transfer": "basic", "objects": objects})

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
                    changes[value["path"]] = File(base64.b64decode(value["content"], validate=True))
                case "lfsFile":
                    changes[value["path"]] = File(repository.objects[value["oid"]], lfs=True)
                case "deletedFile":
                    changes[value["path"]] = None
        made = repository.commit(changes, header["summary"], header.get("parentCommit"))
        url = f"{self._page(repository)}/commit/{made.id}"
        return Answer(body={"success": True, "commitOid": made.id, "commitUrl": url, "hookOutput": ""})
