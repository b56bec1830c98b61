"""How a sprite was made, kept in its PNG file, so that it can be made again."""

import io
import json
import os
import sys
import warnings
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pokemon_ddpm.postprocessing import check_whole

KEYWORD = "pokemon-ddpm"
MAX_TEXT = 65_536
# The text stands before the pixels, so the rest of a file, however large it is, need not be read.
_HEAD_BYTES = 1 << 20
_MAX_DEPTH = 8


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What it takes to make a sprite again.

    Values are checked, since they may come from a stranger's file, and kept as JSON has them: tuples become lists.

    Attributes:
        model: Folder or Hub name of the model.
        condition: Names of attributes and what was asked of them, such as `{"type": "fire/flying"}`.
        seed: From 0 to 2**64 - 1.
        scheduler: Class name of the scheduler.
        num_inference_steps: From 1.
        guidance_scale: A finite number.
        guidance_interval: Two finite numbers, or None.
        guidance_rescale: A finite number.
        negative_pokemon_type: The types guided away from, in any form the pipeline takes; None for the unconditional
            model.
        dtype: Of the weights, such as "float32"; last bits depend on it and the following two.
        compiled: Whether the network was compiled, likewise.
        chunk_size: Pictures drawn together, from 1.
        postprocessing: What was done to the picture afterwards, such as `{"transparent": True, "palette": 16}`.

    Raises:
        ValueError: If a value has the wrong type or is out of its range.
    """

    model: str
    condition: dict[str, Any]
    seed: int
    scheduler: str
    num_inference_steps: int
    guidance_scale: float
    guidance_interval: list[float] | None = None
    guidance_rescale: float = 0.0
    negative_pokemon_type: Any = None
    dtype: str
    compiled: bool = False
    chunk_size: int
    postprocessing: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("model", "scheduler", "dtype"):
            _check_word(name, getattr(self, name))
        for name, low, high in (("seed", 0, 2**64 - 1), ("num_inference_steps", 1, None), ("chunk_size", 1, None)):
            check_whole(name, getattr(self, name), low, high)
            object.__setattr__(self, name, int(getattr(self, name)))  # JSON knows none of numpy's
        if not isinstance(self.compiled, bool):
            raise ValueError(f"compiled must be true or false, but is {_short(self.compiled)}.")
        for name in ("guidance_scale", "guidance_rescale"):
            _check_number(name, getattr(self, name))
        if self.guidance_interval is not None:
            _check_pair("guidance_interval", self.guidance_interval)
            object.__setattr__(self, "guidance_interval", list(self.guidance_interval))
        for name in ("condition", "postprocessing"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name} must be a dict of names and values, but is {_short(getattr(self, name))}.")
        for name in ("condition", "postprocessing", "negative_pokemon_type"):
            object.__setattr__(self, name, _plain(name, getattr(self, name)))


def write_png(image: Image.Image, path: str | Path, provenance: Provenance) -> None:
    """Writes a PNG whose text chunk "pokemon-ddpm" holds the provenance as JSON.

    It is written beside, flushed and renamed: whatever interrupts it, the file is whole or what it was before.

    Args:
        image: A picture of a mode that PNG knows.
        path: The file; it is replaced if there is one.
        provenance: How the picture was made.

    Raises:
        ValueError: If the provenance takes more than 65,536 characters.
        OSError: If the file cannot be written, or the picture's mode is none of PNG's.
    """
    path = Path(path)
    text = json.dumps(asdict(provenance), allow_nan=False)  # ASCII, which the plain text chunk holds
    if len(text) > MAX_TEXT:
        raise ValueError(f"The provenance may take {MAX_TEXT} characters as JSON, but takes {len(text)}: shorten it.")
    info = PngInfo()
    info.add_text(KEYWORD, text)
    content = io.BytesIO()
    image.save(content, "PNG", pnginfo=info)
    beside = path.with_name(f".{path.name}.partial")
    try:
        with beside.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)  # after an error: once renamed, it is no longer there


def read_png(path: str | Path) -> Provenance:
    """Reads how a picture was made from its PNG file, which may be anybody's: nothing in it is trusted.

    Only the first MiB of the file is read, and no pixel is decoded.

    Args:
        path: A PNG that `write_png` wrote.

    Raises:
        ValueError: If the file is not a PNG or is damaged, has no such text, or the text is too long, not JSON, or
            not a provenance: fields missing, unknown, of a wrong type or out of range.
        OSError: If the file cannot be read.
    """
    text = _read_text(Path(path))
    if text is None:
        raise ValueError(
            f"{path} does not say how it was made: it has no text chunk {KEYWORD!r} before its pixels. "
            "Programs that edit pictures may drop it; give the file as it was written."
        )
    if len(text) > MAX_TEXT:
        raise ValueError(f"{path}: the text {KEYWORD!r} may have {MAX_TEXT} characters, but has {len(text)}.")
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the text {KEYWORD!r} is damaged: it is not JSON ({error}).") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: the text {KEYWORD!r} must be a JSON object, but is {_short(found)}.")
    known = {each.name for each in fields(Provenance)}
    for problem, names in (("lacks", known - found.keys()), ("has unknown fields", found.keys() - known)):
        if names:
            raise ValueError(f"{path}: the text {KEYWORD!r} {problem}: {_short(sorted(names))}.")
    try:
        return Provenance(**found)
    except ValueError as error:
        raise ValueError(f"{path}: in the text {KEYWORD!r}, {error}") from error


def _read_text(path: Path) -> str | None:
    with path.open("rb") as file:
        head = io.BytesIO(file.read(_HEAD_BYTES))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # no sprite is so large
            # Not .text, which would decode the pixels to look behind them.
            text = Image.open(head, formats=["PNG"]).info.get(KEYWORD)
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{path} is not a PNG, or its beginning is damaged.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is not a PNG that can be read: {error}.") from error
    return text if isinstance(text, str) else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _plain(name: str, value: Any, depth: int = 0) -> Any:
    """A copy of a value as JSON would give it back; ValueError for what JSON cannot hold."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"{name} must not be nested deeper than {_MAX_DEPTH} levels.")
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        _check_number(name, value)
        return value
    if isinstance(value, list | tuple):
        return [_plain(name, each, depth + 1) for each in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{name} must have strings as names, but has {_short(key)}.")
        return {key: _plain(name, each, depth + 1) for key, each in value.items()}
    raise ValueError(f"{name} must be of what JSON knows, but holds {_short(value)}.")


def _check_word(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a string that is not empty, but is {_short(value)}.")


def _check_number(name: str, value: Any) -> None:
    # Not `math.isfinite`, which fails on whole numbers too large for a float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{name} must be a finite number, but is {_short(value)}.")


def _check_pair(name: str, value: Any) -> None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name} must be two numbers or nothing, but is {_short(value)}.")
    for each in value:
        _check_number(name, each)


def _short(value: Any) -> str:
    """The beginning of a value's `repr`, which shows control characters as escapes."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
