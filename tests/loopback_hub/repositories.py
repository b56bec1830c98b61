"""Repositories with immutable commits, as the Hub keeps them; no HTTP."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

# The Hub's .gitattributes puts these and all binary files into the large file storage.
LFS_SUFFIXES = (".arrow", ".bin", ".npz", ".parquet", ".pt", ".safetensors", ".zip")


class HubFailure(Exception):
    """An answer with an error status and the headers by which the clients choose their exception."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str):
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": " ".join(message.split()), **headers}
        if code:
            self.headers["X-Error-Code"] = code


@dataclass(frozen=True)
class File:
    """The content of a file, also where git would hold a pointer to the large file storage (`lfs`)."""

    content: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def oid(self) -> str:
        """The id of the blob in git; for a file in the large file storage, that of its pointer."""
        blob = self.content
        if self.lfs:
            size = len(self.content)
            blob = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {size}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()


@dataclass(frozen=True)
class Commit:
    """A snapshot of a repository: path -> file, the id of the commit before, and the title."""

    files: Mapping[str, File]
    parent: str | None
    title: str

    @cached_property
    def id(self) -> str:
        tree = [(path, file.oid) for path, file in sorted(self.files.items())]
        return hashlib.sha1(json.dumps([self.parent, self.title, tree]).encode()).hexdigest()


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
    expected: set[str] = field(default_factory=set)  # SHA-256 of the objects that may be uploaded

    def __post_init__(self):
        self._add({".gitattributes": File(b"*.safetensors filter=lfs\n")}, None, "initial commit")

    @property
    def owner(self) -> str:
        return self.id.split("/")[0]

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
        """Adds a commit to main.

        Args:
            changes: Path -> new content, or None to delete the file.
            title: First line of the commit message.
            parent: The commit that main must be at; None for any.
        """
        before = self.at()
        if parent and parent != before.id:
            raise HubFailure(412, f"main is at {before.id}, not at {parent}. Please refresh and try again.")
        files = dict(before.files)
        for path, file in changes.items():
            if {"", ".", "..", ".git"} & set(path.split("/")):
                raise HubFailure(400, f"Invalid path: {path}")
            if file is not None:
                files[path] = File(file) if isinstance(file, bytes) else file
            elif not files.pop(path, None):
                raise HubFailure(404, f"{path} does not exist", "EntryNotFound")
        return self._add(files, before.id, title)

    def _add(self, files: dict[str, File], parent: str | None, title: str) -> Commit:
        commit = Commit(files, parent, title)
        self.commits[commit.id] = commit
        self.names["main"] = commit.id
        return commit
