"""Repositories with immutable commits, as the Hub keeps them; no HTTP."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property


class HubFailure(Exception):
    """An answer with an error status and the headers by which the clients choose their exception."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str):
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}


@dataclass(frozen=True)
class File:
    """The content of a file, in git or in the large file storage (LFS)."""

    content: bytes
    lfs: bool = False

    @cached_property
    def oid(self) -> str:
        """SHA-256 in the large file storage, in git the id of the blob."""
        if self.lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass(frozen=True)
class Commit:
    id: str
    title: str
    files: Mapping[str, File]  # by path


@dataclass
class Repository:
    """A repository with its history. Only its owner can see a private one, or read the files of a gated one."""

    id: str
    type: str = "model"
    private: bool = False
    gated: bool = False
    sdk: str | None = None  # of a Space
    commits: dict[str, Commit] = field(default_factory=dict)  # by id
    names: dict[str, str] = field(default_factory=dict)  # branch or tag -> id of a commit
    objects: dict[str, bytes] = field(default_factory=dict)  # the large file storage, by SHA-256

    def __post_init__(self):
        self._add({".gitattributes": File(b"*.safetensors filter=lfs\n")}, "initial commit")

    @property
    def titles(self) -> list[str]:
        """Of the commits after the initial one, the newest first."""
        return [commit.title for commit in self.commits.values()][:0:-1]

    def at(self, revision: str = "main") -> Commit:
        """The commit of a branch, a tag or an id."""
        commit = self.names.get(revision, revision)
        if commit not in self.commits:
            raise HubFailure(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[commit]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Path -> content, without .gitattributes, which the Hub creates."""
        files = self.at(revision).files.items()
        return {path: file.content for path, file in files if path != ".gitattributes"}

    def commit(
        self, changes: Mapping[str, File | bytes | None], title: str = "A commit", parent: str | None = None
    ) -> Commit:
        """Adds a commit to main, which must be at `parent` if that is given; None in `changes` deletes a file."""
        before = self.at()
        if parent and parent != before.id:
            raise HubFailure(412, f"main is at {before.id}, not at {parent}. Please refresh and try again.")
        files = dict(before.files)
        for path, file in changes.items():
            if file is None:
                del files[path]
            else:
                files[path] = File(file) if isinstance(file, bytes) else file
        return self._add(files, title)

    def _add(self, files: dict[str, File], title: str) -> Commit:
        content = [self.names.get("main"), title, sorted((path, file.oid) for path, file in files.items())]
        commit = Commit(hashlib.sha1(json.dumps(content).encode()).hexdigest(), title, files)
        self.commits[commit.id] = commit
        self.names["main"] = commit.id
        return commit
