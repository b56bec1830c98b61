"""Files of strangers, which are read with care. A saved model carries a copy of this file."""

from pathlib import Path

MAX_BYTES = 16 * 2**20  # of a file that is read at once


def read_file(path: Path, folder: Path, limit: float = MAX_BYTES) -> bytes:
    """The content of a file in a folder that may come from anybody.

    Raises:
        ValueError: With a short reason, if it is no regular file, which may never end, links out of the folder, or is
            larger than `limit` bytes.
        OSError: If it cannot be read.
    """
    check_file(path, limit)
    check_inside(path, folder)
    return path.read_bytes()


def check_inside(path: Path, folder: Path) -> None:
    """Raises ValueError if a path links out of a folder; in the Hub's cache, files link to its blobs."""
    try:
        inside, target = folder.resolve(), path.resolve()
    except RuntimeError as error:  # of a link to itself, until Python 3.12
        raise ValueError("is not a file") from error
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
