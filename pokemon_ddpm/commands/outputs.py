"""What `pokemon-ddpm generate` can make of sprites: a sheet, one for a game, an animation, or files."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer
from tqdm.auto import tqdm

from pokemon_ddpm.animation import save_animation
from pokemon_ddpm.drawing import Drawing, draw_files
from pokemon_ddpm.generation import SpriteRequest, denoise, generate
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.provenance import write_png
from pokemon_ddpm.sheets import game_sheet as lay_out_for_a_game
from pokemon_ddpm.sheets import sheet_description, sprite_sheet


def sheet(
    pipeline: PokemonDDPMPipeline,
    drawing: Drawing,
    requests: Sequence[SpriteRequest],
    columns: int,
    labels: Sequence[str],
    panels: int,
    output: Path,
) -> None:
    """A sheet for people."""
    unscaled = replace(drawing, scale=1)
    drawn = tqdm(generate(pipeline, requests, **drawing.arguments()), total=len(requests), desc="Drawing")
    images = [unscaled.finish(image) for image in drawn]
    sprite_sheet(images, columns, labels, drawing.scale, panels).save(output)
    _say(len(images), output)


def game_sheet(
    pipeline: PokemonDDPMPipeline, drawing: Drawing, requests: Sequence[SpriteRequest], columns: int, output: Path
) -> None:
    """A sheet for a game engine, and its description in JSON beside it."""
    drawn = tqdm(generate(pipeline, requests, **drawing.arguments()), total=len(requests), desc="Drawing")
    about = [{"condition": {"type": each.pokemon_type, **each.words}, "seed": each.seed} for each in requests]
    picture, cells = lay_out_for_a_game([drawing.finish(image) for image in drawn], columns, metadata=about)
    picture.save(output)
    description = json.dumps(sheet_description(output.name, columns, cells), indent=2)
    output.with_suffix(".json").write_text(description + "\n", encoding="utf-8")
    _say(len(cells), f"{output} and {output.with_suffix('.json')}")


def animation(
    pipeline: PokemonDDPMPipeline,
    drawing: Drawing,
    requests: Sequence[SpriteRequest],
    columns: int,
    labels: Sequence[str],
    panels: int,
    output: Path,
) -> None:
    """The sprites as they appear: what the network expects of them after each step."""
    unscaled = replace(drawing, scale=1, transparent=False)
    frames = denoise(pipeline, requests, **drawing.arguments())
    steps = zip(*frames, strict=True)
    sheets = [
        sprite_sheet([unscaled.finish(image) for image in images], columns, labels, drawing.scale, panels)
        for images in steps
    ]
    save_animation(sheets, output)
    _say(len(frames), output)


def files(pipeline: PokemonDDPMPipeline, drawing: Drawing, requests: Sequence[SpriteRequest], folder: Path) -> None:
    """A file for each sprite; of several processes each draws its share."""
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    mine = requests[rank::processes]
    drawn = draw_files(pipeline, drawing, mine, folder)
    count = sum(1 for _ in tqdm(drawn, total=len(mine), desc="Drawing", disable=rank > 0))
    _say(count, folder)


def single(pipeline: PokemonDDPMPipeline, drawing: Drawing, request: SpriteRequest, output: Path) -> None:
    """One sprite as a file that says how it was made."""
    (image,) = generate(pipeline, [request], **drawing.arguments())
    write_png(drawing.finish(image), output, drawing.provenance(pipeline, request))
    _say(1, output)


def _say(count: int, where: object) -> None:
    typer.echo(f"{count} sprite{'s' * (count != 1)} in {where}")
