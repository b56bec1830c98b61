"""`pokemon-ddpm describe-data`: what is in the sprites, as a page with figures."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm.commands.common import fail, make_folder


def describe_data(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="The sprite archive, as a folder or .zip.", show_default="the starter set"
        ),
    ] = None,
    config_name: Annotated[str | None, typer.Option(help="front or all.", show_default="front")] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder for report.md, report.json and their figures.")] = Path(
        "data-report"
    ),
) -> None:
    """Writes a report of the sprites: counts, types, colours, sizes, duplicates, corrections, with figures."""
    known = ("starter",) if directory is None else ("front", "all")
    if config_name not in (None, *known):
        data = "Without DIR there is the starter set" if directory is None else "With DIR there are front and all"
        fail(f"--config-name {config_name}: {data}.")
    config = config_name or known[0]
    _check_archive(directory, output_dir)
    make_folder("--output-dir", output_dir)

    from pokemon_ddpm import load_sprites
    from pokemon_ddpm.data_report.report import FIGURES, NUMBERS, PANELS, REPORT, summary, write_report

    for name in (REPORT, NUMBERS, *FIGURES, *PANELS):
        _check_own(output_dir / name)
    source = "The starter set" if directory is None else f"{directory.resolve().name} ({config})"
    try:
        numbers = write_report(load_sprites(directory, config), output_dir, source, starter=directory is None)
    except (ValueError, OSError) as error:
        fail(error)
    typer.echo(f"{summary(numbers)}: {output_dir / REPORT}")


def _check_archive(directory: Path | None, output_dir: Path) -> None:
    """Refuses what holds no sprites, and an output that would become a part of it."""
    if directory is None:
        return

    from pokemon_ddpm.dataset_scripts.sprite_archive import SpriteDataError, open_archive

    try:
        if not open_archive(directory).pictures:
            raise SpriteDataError(f"{directory} holds no pictures (sprites/FOLDER/VIEW/FINISH/*.png).")
    except (SpriteDataError, OSError) as error:
        fail(error)
    inside = output_dir.resolve()
    if inside.is_relative_to(directory.resolve()) and "sprites" in inside.relative_to(directory.resolve()).parts:
        fail(f"--output-dir {output_dir} is among the sprites, where a report would be taken for one.")


def _check_own(path: Path) -> None:
    """Refuses a file that cannot be replaced."""
    if path.is_dir():
        fail(f"--output-dir {path.parent}: {path.name} in it is a folder.")
    if path.exists() and not os.access(path, os.W_OK):
        fail(f"--output-dir {path.parent}: {path.name} in it cannot be written.")
