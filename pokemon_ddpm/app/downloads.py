"""The files that the browser fetches."""

import json
import re
import secrets
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from pokemon_ddpm.animation import save_animation
from pokemon_ddpm.app.requests import Refused, Sprite, number, one_of
from pokemon_ddpm.provenance import write_png
from pokemon_ddpm.sheets import game_sheet, sprite_sheet

KINDS = {"png": "Sprite (PNG)", "zip": "All (zip)", "gif": "Steps (GIF)", "sheet": "Sheet (PNG)"}
"""The files, and what the page calls them."""
BACKGROUNDS = ("white", "transparent")
MAX_SCALE = 16
COLUMNS = 4
GALLERY_SIZE = 256
"""Side of an image in the gallery in pixels, about."""
ANIMATION_MS = 1500
MAX_NAME = 100
KEPT_SECONDS = 3600
"""After this time Gradio deletes a file."""


class Downloads:
    """Writes files into Gradio's cache folder, from where it serves and deletes them.

    Args:
        folder: The cache folder.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def gallery(self, sprites: Sequence[Sprite]) -> list[tuple[str, str]]:
        """Enlarged PNGs of sprites with their captions."""
        folder, files = self._new_folder(), []
        for i, sprite in enumerate(sprites, 1):
            scale = max(1, GALLERY_SIZE // sprite.image.width)
            path = folder / f"{i}_{_name(sprite)}.png"
            _write_png(sprite, path, False, scale)
            files.append((str(path), sprite.caption))
        return files

    def previews(self, images: Sequence[tuple[Image.Image, str]]) -> list[tuple[str, str]]:
        """PNGs of sprites that are being generated, with captions."""
        files = []
        for image, caption in images:
            path = self._folder / f"{secrets.token_hex(16)}.png"
            image.save(path)
            files.append((str(path), caption))
        return files

    def write(self, kind: str, sprites: Sequence[Sprite], sprite: Sprite, background: Any, scale: Any) -> str:
        """Writes the file of a kind: "png" or "gif" of one sprite, "zip" or "sheet" of all."""
        transparent = one_of("The background", background, BACKGROUNDS) == "transparent"
        scale = number("The scale", scale, 1, MAX_SCALE, whole=True)
        path = self._new_folder() / {"zip": "sprites.zip", "sheet": "sheet.png"}.get(kind, f"{_name(sprite)}.{kind}")
        write = {"png": _write_png, "zip": _write_zip, "gif": _write_animation, "sheet": _write_sheet}[kind]
        write(sprite if kind in ("png", "gif") else sprites, path, transparent, scale)
        return str(path)

    def _new_folder(self) -> Path:
        """A folder with a name that nobody can guess. Old empty ones are removed: Gradio deletes only files."""
        for path in self._folder.glob("*/"):
            with suppress(OSError):  # not empty, or just removed
                if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                    path.rmdir()
        folder = self._folder / secrets.token_hex(16)
        folder.mkdir()
        return folder


def _name(sprite: Sprite) -> str:
    """A file name without suffix, of the condition and the seed."""
    name = re.sub(r"[^\w.+-]", "-", Path(sprite.request.file_name).stem)
    return name.encode()[-MAX_NAME:].decode(errors="ignore")


def _write_png(sprite: Sprite, path: Path, transparent: bool, scale: int) -> None:
    image = replace(sprite.settings, transparent=transparent, scale=scale).postprocess(sprite.image)
    if sprite.provenance is None:
        image.save(path)
    else:
        postprocessing = {"transparent": transparent, "palette": None, "scale": scale}
        write_png(image, path, replace(sprite.provenance, postprocessing=postprocessing))


def _write_zip(sprites: Sequence[Sprite], path: Path, transparent: bool, scale: int) -> None:
    """Writes all PNGs, and a JSON file with their conditions and seeds."""
    table = []
    with zipfile.ZipFile(path, "w") as archive:
        for i, sprite in enumerate(sprites, 1):
            file = path.with_name(f"{i}_{_name(sprite)}.png")
            _write_png(sprite, file, transparent, scale)
            archive.write(file, file.name)
            file.unlink()
            condition = {"condition": sprite.request.condition, "seed": sprite.request.seed}
            variation = {} if sprite.strength is None else {"variation_strength": sprite.strength}
            table.append({"file": file.name, "model": sprite.model, **condition, **variation})
        archive.writestr("sprites.json", json.dumps(table, indent=2) + "\n")


def _write_animation(sprite: Sprite, path: Path, _: bool, scale: int) -> None:
    """Writes the predicted image after each step, then the sprite."""
    if not sprite.steps:
        raise Refused(f"The steps are not kept after a reload. Generate the sprite again: seed {sprite.request.seed}.")
    frames = [step.pred_original_sample for step in sprite.steps] + [sprite.image]
    save_animation(frames, path, duration_ms=max(60, ANIMATION_MS // len(frames)), scale=scale)


def _write_sheet(sprites: Sequence[Sprite], path: Path, transparent: bool, scale: int) -> None:
    images, columns = [sprite.image for sprite in sprites], min(COLUMNS, len(sprites))
    if transparent:
        settings = replace(sprites[0].settings, transparent=True, scale=scale)
        game_sheet(list(map(settings.postprocess, images)), columns).save(path)
    else:
        sprite_sheet(images, columns, scale=scale).save(path)
