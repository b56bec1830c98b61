"""What can be kept of sprites, as files in the app's temporary folder."""

import contextlib
import itertools
import json
import re
import secrets
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from pokemon_ddpm.animation import save_animation
from pokemon_ddpm.app.limits import FOLDERS_PER_LOOK, KEPT_SECONDS, MAX_DISK, MAX_SCALE, SWEEP_SECONDS
from pokemon_ddpm.app.orders import Sprite, one_of, whole
from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.provenance import write_png
from pokemon_ddpm.sheets import game_sheet, sprite_sheet

BACKGROUNDS = ("white", "transparent")
COLUMNS = 4
SHOWN_SIZE = 256
"""About how many pixels wide a sprite is shown."""
ANIMATION_MS = 1500
"""About how long the denoising takes on a GIF."""
MAX_NAME = 100


class Files:
    """Writes files, each lot into a folder of its own that nobody can guess.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._written = itertools.count(1)

    def show(self, sprites: Sequence[Sprite]) -> list[tuple[str, str]]:
        """Writes sprites as the page shows them, enlarged on white, and returns each file with its caption."""
        folder = self._new()
        return [
            (str(_write(sprite, folder, f"{i}_", transparent=False, scale=_shown_scale(sprite.image))), sprite.caption)
            for i, sprite in enumerate(sprites, 1)
        ]

    def show_expected(self, images: Sequence[Image.Image]) -> list[tuple[str, None]]:
        """Likewise, of sprites that are not there yet."""
        folder, shown = self._new(), []
        for i, image in enumerate(images, 1):
            path = folder / f"{i}.png"
            enlarge(image, _shown_scale(image)).save(path)
            shown.append((str(path), None))
        return shown

    def keep(self, sprites: Sequence[Sprite], chosen: Sprite, background: Any, scale: Any) -> tuple[str, ...]:
        """Writes all that is offered for download.

        Args:
            sprites: All that are shown.
            chosen: One of them.
            background: Of `BACKGROUNDS`.
            scale: From 1 to `MAX_SCALE`.

        Returns:
            The chosen one as a PNG, all as a zip of PNGs, the chosen one's denoising as a GIF, all on a sheet.

        Raises:
            Refused: If the background or the scale is another one.
        """
        transparent = one_of("The background", background, BACKGROUNDS) == "transparent"
        scale = whole("The enlargement", scale, 1, MAX_SCALE)
        folder = self._new()
        return tuple(
            map(
                str,
                (
                    _write(chosen, folder, "", transparent, scale),
                    _write_zip(sprites, folder, transparent, scale),
                    _write_animation(chosen, folder, scale),
                    _write_sheet(sprites, folder, transparent, scale),
                ),
            )
        )

    def sweep_for_ever(self) -> None:
        """Removes what is old or too much, time and again, until the folder is gone."""
        while self._folder.is_dir():
            self.sweep()
            self.make_room()
            time.sleep(SWEEP_SECONDS)

    def sweep(self) -> None:
        """Removes what is older than `KEPT_SECONDS`, and folders that hold nothing any more.

        Gradio removes such files, too, but not those of components that it made anew for a visitor, and no folders.
        It comes first, since it goes on to note what others have removed.
        """
        now = time.time()
        for folder in self._folder.glob("*/"):
            with contextlib.suppress(OSError):  # somebody else was quicker, or it holds something
                for path in folder.iterdir():
                    if now - path.stat().st_mtime > KEPT_SECONDS + 2 * SWEEP_SECONDS:
                        path.unlink()
                if now - folder.stat().st_mtime > SWEEP_SECONDS:  # a new one may hold nothing yet
                    folder.rmdir()

    def make_room(self, most: int = MAX_DISK) -> None:
        """Removes the oldest folders' files, as many as it takes for the others to have so many bytes."""
        folders = []
        for folder in self._folder.glob("*/"):
            with contextlib.suppress(OSError):
                found = [(path, path.stat().st_size) for path in folder.iterdir() if path.is_file()]
                folders.append((folder.stat().st_mtime, found))
        for _, found in sorted(folders, key=lambda each: each[0], reverse=True):
            most -= sum(size for _, size in found)
            if most < 0:
                for path, _ in found:
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _new(self) -> Path:
        if next(self._written) % FOLDERS_PER_LOOK == 0:
            self.make_room()
        folder = self._folder / secrets.token_hex(16)
        folder.mkdir()
        return folder


def _shown_scale(image: Image.Image) -> int:
    return max(1, SHOWN_SIZE // image.width)


def _name(sprite: Sprite) -> str:
    """For a file, of letters and digits whatever a model's words are made of, and of at most `MAX_NAME` bytes."""
    name = re.sub(r"[^\w.+-]", "-", "_".join([*sprite.words, str(sprite.request.seed)]))
    return name.encode()[-MAX_NAME:].decode(errors="ignore")


def _write(sprite: Sprite, folder: Path, before: str, transparent: bool, scale: int) -> Path:
    """Writes a PNG that says how it was made, as far as that can be said."""
    path = folder / f"{before}{_name(sprite)}.png"
    finish = replace(sprite.drawing, transparent=transparent, scale=scale)
    image = finish.finish(sprite.image)
    if sprite.made is None:
        image.save(path)
    else:
        after = {"transparent": transparent, "palette": None, "scale": scale}
        write_png(image, path, replace(sprite.made, postprocessing=after))
    return path


def _write_zip(sprites: Sequence[Sprite], folder: Path, transparent: bool, scale: int) -> Path:
    """Writes all PNGs, and a table of them as JSON."""
    path, about = folder / "sprites.zip", []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for i, sprite in enumerate(sprites, 1):
            file = _write(sprite, folder, f"{i}_", transparent, scale)
            archive.write(file, file.name)
            file.unlink()
            about.append({"file": file.name, **_description(sprite)})
        archive.writestr("sprites.json", json.dumps(about, indent=2) + "\n")
    return path


def _description(sprite: Sprite) -> dict[str, Any]:
    varied = {} if sprite.strength is None else {"variation_strength": sprite.strength}
    return {
        "model": sprite.model,
        "condition": {"type": sprite.request.pokemon_type, **sprite.request.words},
        "seed": sprite.request.seed,
        **varied,
    }


def _write_animation(sprite: Sprite, folder: Path, scale: int) -> Path:
    """Writes what was expected of the sprite after each step, then the sprite."""
    path = folder / f"{_name(sprite)}.gif"
    frames = [clean for _, _, clean in sprite.steps] + [sprite.image]
    save_animation(frames, path, duration_ms=max(60, ANIMATION_MS // len(frames)), scale=scale)
    return path


def _write_sheet(sprites: Sequence[Sprite], folder: Path, transparent: bool, scale: int) -> Path:
    path, columns = folder / "sheet.png", min(COLUMNS, len(sprites))
    if transparent:
        images = [replace(sprite.drawing, transparent=True, scale=scale).finish(sprite.image) for sprite in sprites]
        game_sheet(images, columns)[0].save(path)
    else:
        sprite_sheet([sprite.image for sprite in sprites], columns, scale=scale).save(path)
    return path
