"""Files that are written completely or not at all."""

import io
import os
from pathlib import Path
from typing import Any

from PIL import Image

MAX_NAME = 246  # bytes in a file's name; systems allow 255, and `write_file` first writes under one 9 bytes longer


def write_file(path: str | Path, content: str | bytes) -> None:
    """Replaces the content of a file, UTF-8 for text; after an error or an interruption it has its old content.

    It is written under another name beside the old file, then renamed.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.unlink(missing_ok=True)  # in a stranger's folder it may be a link to any file
        with partial.open("xb") as file:
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
