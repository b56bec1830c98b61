"""What `pokemon-ddpm generate` can make of sprites: a sheet, one for a game, an animation, or files."""

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import typer
from PIL import Image
from tqdm.auto import tqdm

from pokemon_ddpm.animation import save_animation
from pokemon_ddpm.drawing import Drawing, draw_files
from pokemon_ddpm.generation import CHUNK_SIZE, SpriteRequest, denoise, generate
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.provenance import write_png
from pokemon_ddpm.sheets import game_sheet as lay_out_for_a_game
from pokemon_ddpm.sheets import sheet_description


def compiled(pipeline: PokemonDDPMPipeline, drawing: Drawing, requests: Sequence[SpriteRequest]) -> None:
    """Compiles the network where that is asked for, and says whether it is worth it for so many sprites."""
    if not drawing.compiled:
        return
    cost = drawing.compile(pipeline, requests[0])
    enough = CHUNK_SIZE * cost.turns_to_pay_off
    verdict = f"pays off after {enough:,.0f} sprites" if math.isfinite(enough) else "never pays off"
    typer.echo(
        f"torch.compile: {cost.first:.1f} s for the first {CHUNK_SIZE} sprites, then {cost.after:.3f} s instead of "
        f"{cost.before:.3f}; it {verdict}, and this job has {len(requests):,}."
    )


def sheet(
    pipeline: PokemonDDPMPipeline,
    drawing: Drawing,
    requests: Sequence[SpriteRequest],
    lay_out: Callable[[Sequence[Image.Image]], Image.Image],
    output: Path,
) -> None:
    """A sheet for people, which `lay_out` makes of sprites and enlarges."""
    lay_out(_draw(pipeline, replace(drawing, scale=1), requests)).save(output)
    _say(len(requests), output)


def game_sheet(
    pipeline: PokemonDDPMPipeline, drawing: Drawing, requests: Sequence[SpriteRequest], columns: int, output: Path
) -> None:
    """A sheet for a game engine, and its description in JSON beside it."""
    about = [{"condition": {"type": each.pokemon_type, **each.words}, "seed": each.seed} for each in requests]
    picture, cells = lay_out_for_a_game(_draw(pipeline, drawing, requests), columns, metadata=about)
    picture.save(output)
    description = json.dumps(sheet_description(output.name, columns, cells), indent=2)
    output.with_suffix(".json").write_text(description + "\n", encoding="utf-8")
    _say(len(requests), f"{output} and {output.with_suffix('.json')}")


def animation(
    pipeline: PokemonDDPMPipeline,
    drawing: Drawing,
    requests: Sequence[SpriteRequest],
    lay_out: Callable[[Sequence[Image.Image]], Image.Image],
    output: Path,
) -> None:
    """The sprites as they appear: what the network expects of them after each step, laid out as on a sheet."""
    opaque = replace(drawing, scale=1, transparent=False)
    frames = denoise(pipeline, requests, **drawing.arguments())
    save_animation(
        [lay_out([opaque.finish(image) for image in images]) for images in zip(*frames, strict=True)], output
    )
    _say(len(requests), output)


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


def _draw(pipeline: PokemonDDPMPipeline, drawing: Drawing, requests: Sequence[SpriteRequest]) -> list[Image.Image]:
    drawn = tqdm(generate(pipeline, requests, **drawing.arguments()), total=len(requests), desc="Drawing")
    return [drawing.finish(image) for image in drawn]


def _say(count: int, where: object) -> None:
    typer.echo(f"{count} sprite{'s' * (count != 1)} in {where}")
