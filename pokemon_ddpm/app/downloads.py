"""The files that a visitor downloads."""

import json
import re
import secrets
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pokemon_ddpm.app.jobs import Refused, Sprite, number
from pokemon_ddpm.provenance import write_png
from pokemon_ddpm.sheets import GAME_COLUMNS, game_sheet, save_animation, sheet_description

KINDS = {"png": "Sprite (PNG)", "gif": "Steps (GIF)", "zip": "Game sheet (zip)"}
MAX_SCALE = 16
ANIMATION_MS = 1500


def write_download(kind: str, sprites: Sequence[Sprite], sprite: Sprite, scale: Any, cache: Path) -> str:
    """Writes the file of a kind, see `KINDS`, and returns its path."""
    scale = number("The scale", scale, 1, MAX_SCALE, whole=True)
    folder = cache / secrets.token_hex(16)  # nobody can guess it
    folder.mkdir()
    path = folder / f"{'sprites' if kind == 'zip' else _name(sprite)}.{kind}"
    write = {"png": _write_png, "gif": _write_animation, "zip": _write_game_sheet}[kind]
    try:
        write(sprites if kind == "zip" else sprite, path, scale)
    except ValueError as error:  # it would be too large
        raise Refused(str(error)) from error
    return str(path)


def _name(sprite: Sprite) -> str:
    """A file name without suffix, of the condition and the seed."""
    name = re.sub(r"[^\w.+-]", "-", Path(sprite.request.file_name).stem)
    return name.encode()[-100:].decode(errors="ignore")  # classes can have long names


def _write_png(sprite: Sprite, path: Path, scale: int) -> None:
    if sprite.job.original is not None or sprite.job.reference is not None:  # condition and seed do not repeat it
        return sprite.processed(scale).save(path)
    settings = replace(sprite.job.generation, scale=scale)
    write_png(sprite.processed(scale), path, settings.provenance(sprite.job.pipeline, sprite.request))


def _write_animation(sprite: Sprite, path: Path, scale: int) -> None:
    """Writes the predicted image after each step, then the sprite, on white."""
    frames = list(map(sprite.job.generation.postprocess, [*sprite.predictions, sprite.image]))
    save_animation(frames, path, duration_ms=max(60, ANIMATION_MS // len(frames)), scale=scale)


def _write_game_sheet(sprites: Sequence[Sprite], path: Path, scale: int) -> None:
    """Writes a sheet for games, and its description with the sprites' conditions and seeds."""
    images, columns, metadata = [each.processed(scale) for each in sprites], min(GAME_COLUMNS, len(sprites)), []
    for job, request in ((each.job, each.request) for each in sprites):
        row = {"model": job.generation.model, "condition": request.condition, "seed": request.seed}
        row |= {"variation_strength": job.strength, "relation": job.change and job.relation}
        metadata.append({name: value for name, value in row.items() if value is not None})
    names = [f"{i}_{_name(sprite)}" for i, sprite in enumerate(sprites, 1)]
    description = sheet_description("sheet.png", images[0].size, columns, names, metadata)
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("sheet.png", "w") as file:
            game_sheet(images, columns).save(file, "PNG")
        archive.writestr("sheet.json", json.dumps(description, indent=2) + "\n")
