"""What the Hub answers to a request, as it answers it on the wire; no sockets yet."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.loopback_hub.repositories import (
    Commit,
    EntryNotFound,
    File,
    InvalidCommit,
    NameTaken,
    Repository,
    RevisionNotFound,
    StaleParent,
)

TYPES = ("model", "dataset", "space")


@dataclass(frozen=True)
class Request:
    """A request, all of it read.

    Attributes:
        method: "GET", "HEAD", ...
        target: Path and query, still quoted.
        headers: With the names in lower case.
        body: Its bytes.
    """

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {key: values[-1] for key, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization", "").removeprefix("Bearer ").strip() or None

    def json(self) -> dict:
        try:
            value = json.loads(self.body or b"{}")
        except ValueError as error:
            raise Refusal(400, f"Invalid JSON: {error}") from error
        if not isinstance(value, dict):
            raise Refusal(400, "Expected a JSON object")
        return value


@dataclass
class Answer:
    """An answer.

    Attributes:
        status: The HTTP status.
        body: Bytes as they are, anything else as JSON.
        headers: Beside Content-Length and Content-Type.
    """

    status: int = 200
    body: bytes | dict | list = b""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Refusal(Exception):
    """Ends the handling of a request with an error, told in the headers by which the clients choose an exception."""

    def __init__(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None):
        super().__init__(message)
        # A header is one line, and holds no é.
        line = " ".join(message.encode("ascii", "replace").decode().split())
        told = {"X-Error-Message": line, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self.answer = Answer(status, {"error": message}, told)


ROUTES: list[tuple[str, re.Pattern, Callable[..., Answer]]] = []
REPOSITORY = r"(?P<kind>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)"
# The pages of models have no prefix; "datasets/..." must not be taken for a model of the user "datasets".
PAGE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<id>(?!(?:api|datasets|spaces|lfs)/)[^/]+/[^/]+?)"


def route(method: str, pattern: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Registers a method of `Api` for the paths that a pattern matches; its groups become arguments, unquoted."""

    def register(function: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


class Api:
    """The Hub's users and repositories, and its answers.

    Attributes:
        endpoint: The URL that the answers name.
        tokens: Token -> user.
        namespaces: User -> where the user may write. Those not in it may write in the one of their name.
        repositories: (type, id) -> repository.
    """

    def __init__(self, tokens: dict[str, str] | None = None, namespaces: dict[str, set[str]] | None = None):
        self.endpoint = ""
        self.tokens = {"hf_ash": "ash", "hf_misty": "misty"} if tokens is None else tokens
        self.namespaces = namespaces or {}
        self.repositories: dict[tuple[str, str], Repository] = {}

    def repository(self, id: str, type: str = "model") -> Repository:
        """A repository that is there."""
        return self.repositories[type, id]

    def create(self, id: str, type: str = "model", **options: object) -> Repository:
        """Makes a repository, for a test that has no use for a client to do it. See `Repository` for the options.

        Raises:
            NameTaken: If there is one of this type and id.
        """
        if (type, id) in self.repositories:
            raise NameTaken(f"You already created this {type} repo")
        self.repositories[type, id] = Repository(id, type, **options)
        return self.repositories[type, id]

    def answer(self, request: Request) -> Answer:
        """Answers a request. Not for two threads at once."""
        try:
            self.user(request)
            for method, pattern, function in ROUTES:
                found = pattern.fullmatch(request.path)
                if found and method == request.method.replace("HEAD", "GET"):
                    groups = {key: value and unquote(value) for key, value in found.groupdict().items()}
                    return function(self, request, **groups)
            raise Refusal(404, f"The loopback Hub has no {request.method} {request.path}")
        except Refusal as refusal:
            return refusal.answer
        except RevisionNotFound as error:
            return Refusal(404, str(error), "RevisionNotFound").answer
        except EntryNotFound as error:
            return Refusal(404, str(error), "EntryNotFound", {"X-Repo-Commit": error.commit}).answer
        except (StaleParent, InvalidCommit, NameTaken) as error:
            status = {StaleParent: 412, InvalidCommit: 400, NameTaken: 409}[type(error)]
            return Refusal(status, str(error)).answer

    # Users and rights

    def user(self, request: Request) -> str | None:
        """Who asks; None for somebody not logged in. A wrong token is refused, whatever is asked for."""
        if request.token is None:
            return None
        if request.token not in self.tokens:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.tokens[request.token]

    def may_write(self, user: str | None, namespace: str) -> bool:
        return user is not None and namespace in self.namespaces.get(user, {user})

    def demand_write(self, request: Request, namespace: str) -> None:
        user = self.user(request)
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if not self.may_write(user, namespace):
            raise Refusal(403, f"You don't have the rights to write in the namespace {namespace}")

    def open(self, request: Request, kind: str | None, id: str, write: bool = False) -> Repository:
        """The repository that a path means, if whoever asks may see it or write in it."""
        user = self.user(request)
        repository = self.repositories.get(((kind or "models").removesuffix("s"), id))
        if repository is None or repository.private and not self.may_write(user, repository.owner):
            # One does not learn that a private repository exists. The code is needed beside the status as the clients
            # take a bare 401 for a missing repository from a Hub on https only.
            status, message = (404, "Repository not found") if user else (401, "Invalid username or password.")
            raise Refusal(status, message, "RepoNotFound")
        if write:
            self.demand_write(request, repository.owner)
        return repository

    @route("GET", "/api/whoami-v2")
    def whoami(self, request: Request) -> Answer:
        user = self.user(request)
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        others = sorted(self.namespaces.get(user, {user}) - {user})
        role = "write" if self.may_write(user, user) else "read"
        return Answer(
            body={
                "type": "user",
                "name": user,
                "fullname": user,
                "orgs": [{"type": "org", "name": name, "roleInOrg": "write"} for name in others],
                "auth": {"type": "access_token", "accessToken": {"displayName": "tests", "role": role}},
            }
        )

    @route("GET", f"/api/{REPOSITORY}/auth-check(?P<write>/write)?")
    def auth_check(self, request: Request, kind: str, id: str, write: str | None) -> Answer:
        self.demand_files(request, self.open(request, kind, id, write=bool(write)))
        return Answer(body={})

    # Making repositories and names in them

    def page(self, repository: Repository) -> str:
        prefix = "" if repository.type == "model" else f"{repository.type}s/"
        return f"{self.endpoint}/{prefix}{repository.id}"

    @route("POST", "/api/repos/create")
    def create_repo(self, request: Request) -> Answer:
        wanted = request.json()
        kind, namespace = wanted.get("type") or "model", wanted.get("organization") or self.user(request) or ""
        self.demand_write(request, namespace)
        if kind not in TYPES or not re.fullmatch(r"[\w.-]{1,96}", wanted.get("name") or ""):
            raise Refusal(400, "Invalid type or name of a repository")
        if kind == "space" and wanted.get("sdk") not in ("docker", "gradio", "static"):
            raise Refusal(400, '"sdk" must be one of docker, gradio, static')
        private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
        id, status = f"{namespace}/{wanted['name']}", 200
        try:
            self.create(id, kind, private=private, sdk=wanted.get("sdk"))
        except NameTaken:
            status = 409
        repository = self.repository(id, kind)
        body = {"url": self.page(repository), "name": id, "id": id, "private": repository.private}
        if status == 409:  # with the URL, by which a client that takes either goes on
            body["error"] = f"You already created this {kind} repo"
        return Answer(status, body)

    @route("POST", f"/api/{REPOSITORY}/branch/(?P<name>[^/]+)")
    def create_branch(self, request: Request, kind: str, id: str, name: str) -> Answer:
        repository = self.open(request, kind, id, write=True)
        repository.name(repository.branches, name, request.json().get("startingPoint", "main"))
        return Answer(body={})

    @route("POST", f"/api/{REPOSITORY}/tag/(?P<revision>[^/]+)")
    def create_tag(self, request: Request, kind: str, id: str, revision: str) -> Answer:
        repository = self.open(request, kind, id, write=True)
        repository.name(repository.tags, request.json()["tag"], revision)
        return Answer(body={})

    # Reading what is known of a repository

    @route("GET", f"/api/{REPOSITORY}(?:/revision/(?P<revision>[^/]+))?")
    def info(self, request: Request, kind: str, id: str, revision: str | None) -> Answer:
        repository = self.open(request, kind, id)
        commit = repository.at(revision or "main")
        return Answer(
            body={
                "_id": hashlib.md5(f"{kind}/{id}".encode(), usedforsecurity=False).hexdigest()[:24],
                "id": id,
                "author": repository.owner,
                "sha": commit.id,
                "private": repository.private,
                "gated": "auto" if repository.gated else False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "createdAt": repository.history(commit.id)[-1].date,
                "lastModified": commit.date,
                "siblings": [{"rfilename": path} for path in sorted(commit.files)],
                **({"sdk": repository.sdk} if repository.type == "space" else {}),
            }
        )

    @route("GET", f"/api/{REPOSITORY}/refs")
    def refs(self, request: Request, kind: str, id: str) -> Answer:
        repository = self.open(request, kind, id)

        def listed(names: dict[str, str], folder: str) -> list[dict]:
            return [
                {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": commit}
                for name, commit in sorted(names.items())
            ]

        branches, tags = listed(repository.branches, "heads"), listed(repository.tags, "tags")
        return Answer(body={"branches": branches, "tags": tags, "converts": [], "pullRequests": []})

    @route("GET", f"/api/{REPOSITORY}/commits/(?P<revision>[^/]+)")
    def commits(self, request: Request, kind: str, id: str, revision: str) -> Answer:
        repository = self.open(request, kind, id)
        return Answer(
            body=[
                {
                    "id": commit.id,
                    "title": commit.title,
                    "message": commit.message,
                    "authors": [{"user": repository.owner}],
                    "date": commit.date,
                }
                for commit in repository.history(revision)
            ]
        )

    @staticmethod
    def entry(commit: Commit, path: str) -> dict | None:
        """What a listing says of a file or a folder; None if there is neither."""
        if path in commit.files:
            file = commit.files[path]
            lfs = (
                {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": len(file.pointer)}} if file.lfs else {}
            )
            return {"type": "file", "oid": file.oid, "size": file.size, "path": path, **lfs}
        below = commit.below(path)
        if not below:
            return None
        tree = json.dumps(sorted((name, file.oid) for name, file in below.items()))
        return {"type": "directory", "oid": hashlib.sha1(tree.encode()).hexdigest(), "size": 0, "path": path}

    @route("GET", f"/api/{REPOSITORY}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?")
    def tree(self, request: Request, kind: str, id: str, revision: str, folder: str | None) -> Answer:
        commit, folder = self.open(request, kind, id).at(revision), (folder or "").strip("/")
        inside = commit.below(folder)
        if folder and not inside:
            raise EntryNotFound(folder, commit.id)
        depth = folder.count("/") + 1 if folder else 0
        recursive = request.query.get("recursive", "").lower() in ("1", "true")
        paths = set()
        for path in inside:
            parts = path.split("/")
            last = len(parts) if recursive else depth + 1
            paths |= {"/".join(parts[:end]) for end in range(depth + 1, last + 1)}
        return Answer(body=[self.entry(commit, path) for path in sorted(paths)])

    @route("POST", f"/api/{REPOSITORY}/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, request: Request, kind: str, id: str, revision: str) -> Answer:
        commit = self.open(request, kind, id).at(revision)
        entries = (self.entry(commit, path.strip("/")) for path in parse_qs(request.body.decode()).get("paths", []))
        return Answer(body=[entry for entry in entries if entry])

    # Reading files

    def demand_files(self, request: Request, repository: Repository) -> None:
        user = self.user(request)
        if repository.gated and not self.may_write(user, repository.owner):
            message = f"Access to {repository.type} {repository.id} is restricted."
            raise Refusal(403 if user else 401, message, "GatedRepo")

    @route("GET", f"{PAGE}/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, request: Request, kind: str | None, id: str, revision: str, path: str) -> Answer:
        repository = self.open(request, kind, id)
        self.demand_files(request, repository)
        commit = repository.at(revision)
        if path not in commit.files:
            raise EntryNotFound(path, commit.id)
        file = commit.files[path]
        headers = {
            "ETag": f'"{file.sha256 if file.lfs else file.oid}"',
            "X-Repo-Commit": commit.id,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream" if file.lfs else "text/plain; charset=utf-8",
            "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.split('/')[-1])}",
        }
        if file.lfs:
            headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if not wanted or wanted.groups() == ("", ""):
            return Answer(200, file.content, headers)
        first, last = wanted.groups()
        start = int(first) if first else max(file.size - int(last), 0)
        end = min(int(last) + 1, file.size) if first and last else file.size
        if start >= end:
            raise Refusal(416, "Range not satisfiable", headers={"Content-Range": f"bytes */{file.size}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        return Answer(206, file.content[start:end], headers)

    # Writing files

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self, request: Request) -> Answer:
        """Sees whether a card's metadata begin and end; what they say is not understood here."""
        lines = request.json().get("content", "").lstrip().splitlines()
        if not lines or lines[0].strip() != "---":
            return Answer(
                body={"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
            )
        if "---" not in (line.strip() for line in lines[1:]):
            return Answer(400, {"errors": [{"message": "the yaml metadata do not end"}], "warnings": []})
        return Answer(body={"errors": [], "warnings": []})

    @route("POST", f"/api/{REPOSITORY}/preupload/(?P<revision>[^/]+)")
    def preupload(self, request: Request, kind: str, id: str, revision: str) -> Answer:
        repository = self.open(request, kind, id, write=True)
        commit, files = repository.at(revision), []
        for wanted in request.json()["files"]:
            path, sample = wanted["path"], base64.b64decode(wanted.get("sample") or "")
            lfs = repository.goes_to_lfs(path, wanted["size"], sample, revision)
            files.append({"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False})
            if path in commit.files:  # by this the clients leave out what has not changed
                file = commit.files[path]
                files[-1]["oid"] = file.sha256 if file.lfs else file.oid
        return Answer(body={"files": files, "commitOid": commit.id})

    @route("POST", rf"{PAGE}\.git/info/lfs/objects/batch")
    def lfs_batch(self, request: Request, kind: str | None, id: str) -> Answer:
        repository = self.open(request, kind, id, write=True)
        objects = [{"oid": wanted["oid"], "size": wanted["size"]} for wanted in request.json()["objects"]]
        for wanted in objects:
            if wanted["oid"] not in repository.objects:
                repository.expected.add(wanted["oid"])
                wanted["actions"] = {
                    "upload": {"href": f"{self.endpoint}/lfs/{repository.type}s/{id}/{wanted['oid']}"},
                    "verify": {"href": f"{self.page(repository)}.git/info/lfs/objects/verify"},
                }
        return Answer(body={"transfer": "basic", "objects": objects})

    @route("PUT", f"/lfs/{REPOSITORY}/(?P<oid>[0-9a-f]{{64}})")
    def lfs_upload(self, request: Request, kind: str, id: str, oid: str) -> Answer:
        """Takes an object without a token: the Hub hands out an address that is good for this one object."""
        repository = self.repositories.get((kind.removesuffix("s"), id))
        if repository is None or oid not in repository.expected:
            raise Refusal(403, "Request has expired")
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise Refusal(400, "The content is not what was announced")
        repository.objects[oid] = request.body
        return Answer(headers={"ETag": f'"{oid}"'})

    @route("POST", rf"{PAGE}\.git/info/lfs/objects/verify")
    def lfs_verify(self, request: Request, kind: str | None, id: str) -> Answer:
        repository, wanted = self.open(request, kind, id, write=True), request.json()
        if len(repository.objects.get(wanted["oid"], b"")) != wanted["size"]:
            raise Refusal(404, "The object has not arrived")
        return Answer(body={})

    @route("POST", f"/api/{REPOSITORY}/commit/(?P<revision>[^/]+)")
    def commit(self, request: Request, kind: str, id: str, revision: str) -> Answer:
        repository = self.open(request, kind, id, write=True)
        if "create_pr" in request.query:
            raise Refusal(501, "The loopback Hub has no pull requests")
        header, changes = {}, {}
        try:
            for line in request.body.splitlines():
                key, value = (entry := json.loads(line))["key"], entry["value"]
                if key == "header":
                    header = value
                elif key == "file":
                    changes[value["path"]] = File(base64.b64decode(value["content"], validate=True))
                elif key == "lfsFile":
                    changes[value["path"]] = File(repository.objects[value["oid"]], lfs=True)
                elif key in ("deletedFile", "deletedFolder"):
                    changes[value["path"].rstrip("/") + "/" * (key == "deletedFolder")] = None
                else:
                    raise Refusal(400, f"The loopback Hub has no {key} in commits")
        except (KeyError, ValueError, TypeError) as error:
            # Also an object of the large file storage that nobody uploaded.
            raise Refusal(400, f"Invalid commit: {error!r}") from error
        if not header.get("summary"):
            raise Refusal(400, "A commit needs a summary")
        made = repository.commit(
            changes, header["summary"], header.get("description", ""), revision, header.get("parentCommit")
        )
        url = f"{self.page(repository)}/commit/{made.id}"
        return Answer(body={"success": True, "commitOid": made.id, "commitUrl": url, "hookOutput": ""})
