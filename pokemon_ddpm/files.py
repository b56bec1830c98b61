"""Files that are written completely or not at all, and files of strangers, which are read with care."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

from PIL import Image

MAX_BYTES = 16 * 2**20  # of a file that is read at once


def write_file(path: str | Path, content: str | bytes) -> None:
    """Replaces the content of a file, UTF-8 for text; after an error or an interruption it has its old content.

    It is written under another name beside the old file, then renamed.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # the path that the caller knows
    finally:
        if partial.is_file():
            partial.unlink()


def read_file(path: Path, folder: Path) -> bytes:
    """The content of a file in a folder that may come from anybody.

    Raises:
        ValueError: With a short reason, if it is no regular file, which may never end, links out of the folder, or is
            larger than `MAX_BYTES`.
        OSError: If it cannot be read.
    """
    check_file(path)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError("links out of the folder")
    return path.read_bytes()


def check_file(path: Path, limit: float = MAX_BYTES) -> None:
    """Raises ValueError unless a path is a regular file (a pipe would block, a device never end) of `limit` bytes."""
    if not path.is_file():
        raise ValueError("is no file")
    check_size(path.stat().st_size, limit)


def check_size(size: int, limit: float = MAX_BYTES) -> None:
    """Raises ValueError if a file is larger than the limit, in bytes."""
    if size > limit:
        raise ValueError(f"larger than {limit / 2**20:g} MiB")


def save_image(image: Image.Image, path: str | Path, **options: Any) -> None:
    """Saves an image in the format of the file's suffix; for the options see `Image.save`."""
    options.setdefault("format", Image.registered_extensions().get(Path(path).suffix.lower()))
    content = io.BytesIO()
    image.save(content, **options)
    write_file(path, content.getvalue())


def save_figure(figure: Any, path: str | Path, dpi: int) -> None:
    """Saves a Matplotlib figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    write_file(path, content.getvalue())


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
