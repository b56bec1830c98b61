"""Checks that need no torch: of numbers, and of files of strangers. A saved model carries a copy of this file."""

import math
import os
from numbers import Integral, Real
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

MAX_BYTES = 16 * 2**20  # of a file that is read at once
MAX_SHOWN = 3000  # characters of a line in a message


def read_file(path: Path, folder: Path, limit: float = MAX_BYTES) -> bytes:
    """The content of a file in a folder that may come from anybody; see `check_file` and `check_inside`."""
    check_file(path, limit)
    check_inside(path, folder)
    return path.read_bytes()


def check_inside(path: Path, folder: Path) -> None:
    """Raises ValueError if a path links out of a folder; in the Hub's cache, files link to its blobs."""
    # Not with `resolve`, which fails for a link to itself.
    inside, target = (Path(os.path.realpath(place)) for place in (folder, path))
    is_cached = inside.parent.name == "snapshots" and target.is_relative_to(inside.parents[1] / "blobs")
    if not (is_cached or target.is_relative_to(inside)):
        raise ValueError("is a link out of the folder")


def check_file(path: Path, limit: float = MAX_BYTES) -> None:
    """Raises ValueError unless a path is a regular file (a pipe would block, a device never end) of `limit` bytes."""
    if not path.is_file():
        raise ValueError("is not a file")
    check_size(path.stat().st_size, limit)


def check_size(size: int, limit: float = MAX_BYTES) -> None:
    """Raises ValueError if a file is larger than the limit, in bytes."""
    if size > limit:
        raise ValueError(f"larger than {limit / 2**20:g} MiB")


def printable(text: object) -> str:
    """A stranger's text for a message: a line whose characters a terminal does not obey, and that is not too long."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(text)[:MAX_SHOWN])


def is_number(value: Any, low: float, high: float = math.inf, kind: type[Any] = Real) -> bool:
    """Whether a value is a number from `low` to `high`; bool and NaN are not, 0-dimensional tensors are."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    return isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high


def check_number(name: str, value: Any, low: float, high: float, kind: type[Any] = Real) -> None:
    """Raises ValueError unless `is_number`."""
    if not is_number(value, low, high, kind):
        word = "whole number" if kind is Integral else "number"
        raise ValueError(f"{name} must be a {word} from {low} to {high}, not {short_repr(value)}.")
