"""Files written completely or not at all, the folders of released models, and what a PNG says of its generation."""

import io
import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

RELEASED = Path(__file__).parent / "released"  # those below are folders in it
RELEASED_MODEL = str(RELEASED / "pokemon-ddpm-64")  # sprites of 64x64 px with transparency, trained on the real ones
RELEASED_FAST_MODEL = str(RELEASED / "pokemon-ddpm-64-fast")  # distilled to four steps, for the same conditions
RELEASED_FREE_MODEL = str(RELEASED / "wesnoth-ddpm-64-fast")  # units of a game: free images alone, under the GPL 3
KEYWORD = "pokemon-ddpm"
HEAD_SIZE = 2**20  # bytes of a file that are read; the text is before the pixels


def write_file(path: str | Path, content: str | bytes) -> None:
    """Replaces the content of a file, UTF-8 for text; after an error or an interruption it has its old content."""
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


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What is needed to generate a sprite again, with values as in JSON: tuples become lists."""

    model: str
    # Types without parameters, since `_parse` checks values by them.
    condition: dict  # attributes and values, such as {"type": "fire/flying"}
    seed: int
    scheduler: str  # a key of `SAMPLERS`
    num_inference_steps: int
    guidance_scale: int | float
    guidance_interval: list | None = None
    guidance_rescale: int | float = 0.0
    negative_pokemon_type: str | list | dict | None = None
    dtype: str  # of the weights; it changes the last bits, as `backend` and `chunk_size` do
    backend: str = "torch"  # or "onnx", in older files
    weights: str | None = None  # digest of network and conditioner in this dtype; None in PNGs of 1.0
    chunk_size: int
    postprocessing: dict = field(default_factory=dict)  # such as {"palette": 16, "min_fragment": 4}; see `generation`
    sketch: str | None = None  # what the sampling begins from; see `description`
    strength: int | float | None = None  # of the noise on the sketch; None without one, and in files of before

    def __post_init__(self) -> None:
        vars(self).update(json.loads(json.dumps(vars(self), allow_nan=False)))


def write_png(image: Image.Image, path: str | Path, provenance: Provenance) -> None:
    """Writes a PNG with the provenance as JSON in a text chunk; see `write_file`."""
    info = PngInfo()
    info.add_text(KEYWORD, json.dumps(vars(provenance)))
    save_image(image, path, format="PNG", pnginfo=info)


def read_png(path: str | Path) -> Provenance:
    """Reads the provenance from a PNG, which may come from anybody; raises ValueError if it has no valid one."""
    with open(path, "rb") as file:
        head = io.BytesIO(file.read(HEAD_SIZE))
    try:
        text = Image.open(head, formats=["PNG"]).info.get(KEYWORD)  # no pixel is decoded; texts are limited to 1 MiB
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is not a PNG, or is damaged.") from error
    if text is None:
        known = "Files of --output-dir, of --like and of the app do, if no image editor removed it; sheets do not."
        raise ValueError(f"{path} does not say how it was generated. {known}")
    try:
        return _parse(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the text {KEYWORD!r} is not valid: {error}.") from error


def _parse(text: str) -> Provenance:
    values, types = json.loads(text), {field.name: field.type for field in fields(Provenance)}
    values = {**dict.fromkeys(("weights", "sketch", "strength")), **values} if isinstance(values, dict) else {}
    if values.keys() != types.keys():
        raise ValueError(f"the fields must be {', '.join(types)}")
    wrong = [key for key, kind in types.items() if not isinstance(values[key], kind) or isinstance(values[key], bool)]
    interval = values["guidance_interval"] or [0, 0]
    if wrong or not 0 <= values["seed"] < 2**64 or [type(level) in (int, float) for level in interval] != [True, True]:
        ranges = "seed must be from 0 to 2**64 - 1, and guidance_interval two numbers"
        raise ValueError(f"{', '.join(wrong)} has the wrong type" if wrong else ranges)
    return Provenance(**values)
