"""The files that the browser fetches, in Gradio's cache folder, from where Gradio serves and deletes them."""

import json
import re
import secrets
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pokemon_ddpm.animation import save_animation
from pokemon_ddpm.app.requests import Refused, Sprite, number, one_of
from pokemon_ddpm.provenance import write_png
from pokemon_ddpm.sheets import game_sheet, sheet_description, sprite_sheet

KINDS = {"png": "Sprite (PNG)", "zip": "All, game sheet (zip)", "gif": "Steps (GIF)", "sheet": "Sheet (PNG)"}
BACKGROUNDS = ("transparent", "white")
MAX_SCALE = 16
COLUMNS = 4
GALLERY_SIZE = 256  # side of an image in pixels, about
ANIMATION_MS = 1500
KEPT_SECONDS = 3600  # then Gradio deletes a file


def write_gallery(sprites: Sequence[Sprite], cache: Path) -> list[tuple[str, str]]:
    """Writes enlarged PNGs of sprites, and returns their paths and captions."""
    folder, files = _new_folder(cache), []
    for i, sprite in enumerate(sprites, 1):
        path = folder / f"{i}_{_name(sprite)}.png"
        _write_png(sprite, path, True, max(1, GALLERY_SIZE // sprite.image.width))
        files.append((str(path), sprite.caption))
    return files


def write_download(
    kind: str, sprites: Sequence[Sprite], sprite: Sprite, background: Any, scale: Any, cache: Path
) -> str:
    """Writes the file of a kind: "png" or "gif" of one sprite, "zip" or "sheet" of all."""
    transparent = one_of("The background", background, BACKGROUNDS) == "transparent"
    scale = number("The scale", scale, 1, MAX_SCALE, whole=True)
    path = _new_folder(cache) / {"zip": "sprites.zip", "sheet": "sheet.png"}.get(kind, f"{_name(sprite)}.{kind}")
    write = {"png": _write_png, "zip": _write_zip, "gif": _write_animation, "sheet": _write_sheet}[kind]
    try:
        write(sprite if kind in ("png", "gif") else sprites, path, transparent, scale)
    except ValueError as error:  # it would be too large
        raise Refused(str(error)) from error
    return str(path)


def _new_folder(cache: Path) -> Path:
    """A folder with a name that nobody can guess."""
    folder = cache / secrets.token_hex(16)
    folder.mkdir()
    return folder


def _name(sprite: Sprite) -> str:
    """A file name without suffix, of the condition and the seed."""
    name = re.sub(r"[^\w.+-]", "-", Path(sprite.request.file_name).stem)
    return name.encode()[-100:].decode(errors="ignore")  # classes can have long names


def _write_png(sprite: Sprite, path: Path, transparent: bool, scale: int) -> None:
    settings = replace(sprite.job.generation, transparent=transparent, scale=scale)
    image = settings.postprocess(sprite.image)
    if sprite.job.original is None:
        write_png(image, path, settings.provenance(sprite.job.pipeline, sprite.request))
    else:  # condition and seed do not repeat it
        image.save(path)


def _write_zip(sprites: Sequence[Sprite], path: Path, transparent: bool, scale: int) -> None:
    """Writes all PNGs, a JSON file with their conditions and seeds, and a sheet for games with its description."""
    table = []
    with zipfile.ZipFile(path, "w") as archive:
        for i, sprite in enumerate(sprites, 1):
            file = path.with_name(f"{i}_{_name(sprite)}.png")
            _write_png(sprite, file, transparent, scale)
            archive.write(file, file.name)
            file.unlink()
            job, request = sprite.job, sprite.request
            row = {"file": file.name, "model": job.generation.model, "condition": request.condition}
            row |= {"seed": request.seed, "variation_strength": job.strength, "relation": job.relation}
            table.append({name: value for name, value in row.items() if value is not None})
        archive.writestr("sprites.json", json.dumps(table, indent=2) + "\n")
        sheet = path.with_name("sheet.png")
        _write_sheet(sprites, sheet, True, scale)
        archive.write(sheet, sheet.name)
        sheet.unlink()
        size, names = tuple(scale * side for side in sprites[0].image.size), [row.pop("file") for row in table]
        description = sheet_description(sheet.name, size, min(COLUMNS, len(sprites)), names, table)
        archive.writestr("sheet.json", json.dumps(description, indent=2) + "\n")


def _write_animation(sprite: Sprite, path: Path, _: bool, scale: int) -> None:
    """Writes the predicted image after each step, then the sprite, on white."""
    samples = [step.pred_original_sample for step in sprite.steps] + [sprite.image]
    frames = list(map(sprite.job.generation.postprocess, samples))
    save_animation(frames, path, duration_ms=max(60, ANIMATION_MS // len(frames)), scale=scale)


def _write_sheet(sprites: Sequence[Sprite], path: Path, transparent: bool, scale: int) -> None:
    settings = replace(sprites[0].job.generation, scale=scale if transparent else 1)
    images, columns = [settings.postprocess(sprite.image) for sprite in sprites], min(COLUMNS, len(sprites))
    sheet = game_sheet(images, columns) if transparent else sprite_sheet(images, columns, scale=scale)
    sheet.save(path)
