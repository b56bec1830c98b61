"""Files that are written completely or not at all, and a report of those that cannot be used."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

MAX_LISTED = 20  # problems in a message
MAX_NAME = 246  # bytes in a file's name; systems allow 255, and `write_file` first writes under one 9 bytes longer


class SpriteDataError(ValueError):
    """The data cannot be used; the message names the files and what to do."""


class Problems:
    """Collects what is wrong, to report all of it at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, place: str, complaint: object) -> None:
        self.found.append(f"{place}: {complaint}")

    @contextlib.contextmanager
    def caught(self, place: str) -> Iterator[None]:
        """Adds a ValueError that is raised inside, in place of passing it on."""
        try:
            yield
        except ValueError as error:
            self.add(place, error)

    def report(self, headline: str) -> str:
        """The headline and the first 20 problems, one a line."""
        more = len(self.found) - MAX_LISTED
        return "\n  ".join([headline, *self.found[:MAX_LISTED], *([f"... and {more} more"] if more > 0 else [])])

    def check(self, source: Path, skip: bool) -> None:
        """Raises SpriteDataError if there are problems that may not be skipped."""
        if self.found and not skip:
            headline = f"{source}: {len(self.found)} unusable. Repair or remove them, or pass --skip_bad_images "
            raise SpriteDataError(self.report(f"{headline}(skip_bad_images=True) to continue without them:"))


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
