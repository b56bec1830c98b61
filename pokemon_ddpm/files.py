"""Files that are written completely or not at all: first under another name beside the old file, then renamed."""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

from PIL import Image


def write_file(path: str | Path, content: str | bytes) -> None:
    """Replaces the content of a file, UTF-8 for text; after an error or an interruption it has its old content.

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
