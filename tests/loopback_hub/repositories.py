"""Repositories as the Hub keeps them: commits that never change, with branches and tags as their names. No HTTP."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from types import MappingProxyType

# What a new repository holds, shortened. The clients ask the Hub which files go to the large file storage.
GITATTRIBUTES = "".join(
    f"*.{extension} filter=lfs diff=lfs merge=lfs -text\n"
    for extension in ("arrow", "bin", "npz", "parquet", "pt", "safetensors", "tar", "zip")
)
REGULAR_AT_MOST = 5 * 2**20


class RevisionNotFound(Exception):
    """There is no such branch, tag or commit."""


class EntryNotFound(Exception):
    """The commit has no such file or folder.

    Attributes:
        commit: The commit's id.
    """

    def __init__(self, path: str, commit: str):
        super().__init__(f"{path} does not exist")
        self.commit = commit


class StaleParent(Exception):
    """The branch has moved on from the commit that the new one was made for."""


class InvalidCommit(Exception):
    """A commit that cannot be made."""


class NameTaken(Exception):
    """There is a branch, tag or repository of this name."""


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _blob(content: bytes) -> str:
    """The id that git gives a file's content."""
    return _sha1(b"blob %d\0" % len(content) + content)


@dataclass(frozen=True)
class File:
    """The content of a file in a commit.

    Attributes:
        content: All of it, also where git itself would hold a pointer only.
        lfs: Whether it lies in the large file storage.
    """

    content: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        lines = ["version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {self.size}", ""]
        return "\n".join(lines).encode()

    @cached_property
    def oid(self) -> str:
        """The id of what git itself holds: the content, or the pointer to it."""
        return _blob(self.pointer if self.lfs else self.content)

    @property
    def size(self) -> int:
        return len(self.content)


@dataclass(frozen=True)
class Commit:
    """A snapshot of a repository.

    Attributes:
        files: Path -> file. Cannot be changed.
        parent: The id of the commit before; None for the first one.
        title: The first line of its message.
        message: The rest of its message.
        number: How many commits the repository had before.
    """

    files: Mapping[str, File]
    parent: str | None
    title: str
    message: str = ""
    number: int = 0

    @cached_property
    def id(self) -> str:
        tree = [(path, file.oid) for path, file in sorted(self.files.items())]
        return _sha1(json.dumps([self.parent, self.title, self.message, tree]).encode())

    @property
    def date(self) -> str:
        """A minute after the commit before: the same in every run of a test."""
        return f"2026-01-01T{self.number // 60 % 24:02}:{self.number % 60:02}:00.000Z"

    def below(self, folder: str) -> dict[str, File]:
        """The files below a folder, "" for all; empty where there is no such folder."""
        return {path: file for path, file in self.files.items() if not folder or path.startswith(f"{folder}/")}


@dataclass
class Repository:
    """A repository with its history.

    Attributes:
        id: "owner/name".
        type: "model", "dataset" or "space".
        private: Whether only those who may write in it can see it.
        gated: Whether only those who may write in it get at its files; all see that it is there.
        sdk: What a Space runs on.
        commits: Id -> commit, in the order they were made.
        branches: Name -> id of its last commit.
        tags: Name -> id of a commit.
        objects: SHA-256 -> what was uploaded to the large file storage, committed or not.
        expected: SHA-256 of the objects that may be uploaded.
    """

    id: str
    type: str = "model"
    private: bool = False
    gated: bool = False
    sdk: str | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    expected: set[str] = field(default_factory=set)

    def __post_init__(self):
        self._add("main", {".gitattributes": File(GITATTRIBUTES.encode())}, None, "initial commit", "")

    @property
    def owner(self) -> str:
        return self.id.split("/")[0]

    def at(self, revision: str = "main") -> Commit:
        """The commit that a branch, a tag or an id means.

        Raises:
            RevisionNotFound: If there is none.
        """
        commit = self.branches.get(revision) or self.tags.get(revision) or revision
        if commit not in self.commits:
            raise RevisionNotFound(f"Invalid rev id: {revision}")
        return self.commits[commit]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Path -> content, without the .gitattributes that the Hub makes by itself."""
        files = self.at(revision).files.items()
        return {path: file.content for path, file in files if path != ".gitattributes"}

    def history(self, revision: str = "main") -> list[Commit]:
        """A commit and those before it, the newest first."""
        commits = [self.at(revision)]
        while commits[-1].parent:
            commits.append(self.commits[commits[-1].parent])
        return commits

    def goes_to_lfs(self, path: str, size: int, sample: bytes, revision: str = "main") -> bool:
        """Whether a file belongs into the large file storage: by its name, its size or its first bytes."""
        attributes = self.at(revision).files.get(".gitattributes", File(b"")).content.decode().splitlines()
        patterns = [line.split()[0] for line in attributes if "filter=lfs" in line.split()]
        named = any(fnmatch(path, pattern) or fnmatch(path.split("/")[-1], pattern) for pattern in patterns)
        return named or size > REGULAR_AT_MOST or b"\0" in sample

    def commit(
        self,
        changes: Mapping[str, File | bytes | None],
        title: str = "A commit",
        message: str = "",
        branch: str = "main",
        parent: str | None = None,
    ) -> Commit:
        """Adds a commit to a branch.

        Args:
            changes: Path -> new content, or None to delete the file, or with a path that ends in "/" the folder.
            title: The first line of the commit's message.
            message: The rest of it.
            branch: The branch's name.
            parent: The id, or its beginning, of the commit that the branch must be at; None for any.

        Raises:
            RevisionNotFound: If there is no such branch.
            StaleParent: If the branch is elsewhere.
            InvalidCommit: If a path is none.
            EntryNotFound: If there is nothing to delete.
        """
        if branch not in self.branches:
            raise RevisionNotFound(f"Invalid rev id: {branch}")
        before = self.at(branch)
        if parent and not before.id.startswith(parent):
            raise StaleParent(f"{branch} is at {before.id}, not at {parent}. Please refresh and try again.")
        files = dict(before.files)
        for path, file in changes.items():
            if not path.strip("/") or {"", ".", "..", ".git"} & set(path.removesuffix("/").split("/")):
                raise InvalidCommit(f"Invalid path: {path}")
            if file is None:
                gone = before.below(path.removesuffix("/")) if path.endswith("/") else {path} & before.files.keys()
                if not gone:
                    raise EntryNotFound(path, before.id)
                for one in gone:
                    files.pop(one, None)
            else:
                files[path] = File(file) if isinstance(file, bytes) else file
        return self._add(branch, files, before.id, title, message)

    def _add(self, branch: str, files: dict[str, File], parent: str | None, title: str, message: str) -> Commit:
        commit = Commit(MappingProxyType(files), parent, title, message, len(self.commits))
        self.commits[commit.id] = commit
        self.branches[branch] = commit.id
        return commit

    def name(self, names: dict[str, str], name: str, revision: str = "main") -> None:
        """Gives a commit a name.

        Args:
            names: `branches` or `tags`.
            name: The new branch or tag.
            revision: What it is a name of.

        Raises:
            NameTaken: If it is a name already.
            RevisionNotFound: If there is no such revision.
        """
        if name in names:
            raise NameTaken(f"Reference already exists: {name}")
        names[name] = self.at(revision).id
