"""`pokemon-ddpm generate`: sprites of what is asked for, on a sheet, as an animation, or as files of their own."""

import functools
import os
from inspect import Parameter
from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import (
    MAX_SEED,
    Model,
    Scheduler,
    all_but,
    check_beside,
    check_file,
    fail,
    make_folder,
)
from pokemon_ddpm.commands.requests import numbered, parse_type, rows_of
from pokemon_ddpm.devices import best_device
from pokemon_ddpm.signatures import spread
from pokemon_ddpm.vocabulary import ATTRIBUTES

MAX_COLUMNS = 8
SHEET_SCALE = 4
SUFFIXES = (".png", ".gif", ".webp")
TRAINING = 'Of models trained on it. Can be given several times, or "all"; each is a row.'

Words = list[str] | None


def generate(
    context: typer.Context,
    model: Model = RELEASED_MODEL,
    type: Annotated[
        Words,
        typer.Option(
            help='"fire", "fire/flying" (both), "fire/none" (purely fire), "fire=0.7,water=0.3" (a blend), "any", or '
            '"all" for a row of every type. Can be given several times; each is a row.'
        ),
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, help="Sprites a row.")] = 4,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Sprite i is the picture of seed + i.")] = 0,
    same_seeds: Annotated[bool, typer.Option("--same-seeds", help="Begin every row with the same seed.")] = False,
    num_inference_steps: Annotated[
        int | None, typer.Option(help="Denoising steps.", show_default="the model's own")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="Strength of the condition; 1 is no guidance.", show_default="the model's own")
    ] = None,
    guidance_interval: Annotated[
        tuple[float, float] | None, typer.Option(help="Guide at noise levels between these two only.")
    ] = None,
    guidance_rescale: Annotated[float, typer.Option(help="From 0 to 1; takes contrast back.")] = 0.0,
    negative_type: Annotated[str | None, typer.Option(help="Lead away from this type.")] = None,
    scheduler: Scheduler = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 (fast where the processor has it), float16.")] = (
        "float32"
    ),
    compile: Annotated[
        bool, typer.Option("--compile", help="torch.compile, for long jobs; tells after how many sprites it pays off.")
    ] = False,
    transparent: Annotated[bool, typer.Option("--transparent", help="Remove the background.")] = False,
    palette: Annotated[int | None, typer.Option(min=2, max=256, help="Reduce each sprite to so many colours.")] = None,
    scale: Annotated[
        int | None, typer.Option(min=1, help="Enlargement by a whole factor.", show_default="4 on a sheet for people")
    ] = None,
    panels: Annotated[int, typer.Option(min=1, help="Spread the rows over this many panels side by side.")] = 1,
    output: Annotated[
        Path, typer.Option(help="A sheet (.png), or an animation of the denoising (.gif, .webp).")
    ] = Path("sprites.png"),
    game_sheet: Annotated[
        bool, typer.Option("--game-sheet", help="A sheet for a game engine, described by a .json beside it.")
    ] = False,
    output_dir: Annotated[
        Path | None, typer.Option(help="A PNG for each sprite into this folder instead, which says how it was made.")
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="Make such a PNG again, as --output; nothing else is needed.")
    ] = None,
    **attributes: Words,
) -> None:
    """Draws sprites: on a sheet, as an animation, or as files."""
    scale = scale or (1 if output_dir or game_sheet else SHEET_SCALE)
    if like is not None:
        check_beside(context, "like", *all_but(context, "like", "output"))
        check_file(output, ".png")
        if not like.is_file():
            fail(f"--like {like} is no file.")
    elif output_dir is None:
        check_file(output, *(SUFFIXES[:1] if game_sheet else SUFFIXES))
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            fail("Several processes cannot share one sheet; give --output-dir.")
        if game_sheet:
            check_beside(context, "game_sheet", "panels")
        elif transparent and output.suffix.lower() != ".png":
            fail("--transparent is for sheets and files, not for an animation.")
    elif game_sheet:
        fail("--game-sheet and --output-dir exclude each other; give one.")
    else:
        check_beside(context, "output_dir", "output", "panels")
        make_folder("--output-dir", output_dir)

    from pokemon_ddpm.commands import outputs  # after the cheap checks: torch takes seconds to import
    from pokemon_ddpm.drawing import Drawing, read_drawing
    from pokemon_ddpm.sheets import sprite_sheet

    try:
        if like is not None:
            drawing, request = read_drawing(like)
            pipeline = drawing.load(best_device())
            outputs.compiled(pipeline, drawing, [request])
            outputs.single(pipeline, drawing, request, output)
            return
        drawing = Drawing(
            model=model,
            scheduler=scheduler,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_interval=guidance_interval,
            guidance_rescale=guidance_rescale,
            negative_pokemon_type=None if negative_type is None else parse_type(negative_type),
            dtype=dtype,
            compiled=compile,
            transparent=transparent or game_sheet,
            palette=palette,
            scale=scale,
        )
        pipeline = drawing.load(best_device())
        rows = rows_of({"type": type, **attributes}, pipeline.conditioner.vocabulary)
        requests = numbered(rows, num_images, seed, same_seeds)
        outputs.compiled(pipeline, drawing, requests)
        columns = min(num_images, MAX_COLUMNS) if len(rows) == 1 else num_images  # a single row may wrap
        labels = [row.label for row in rows] if len(rows) > 1 else []
        lay_out = functools.partial(
            sprite_sheet, columns=columns, row_labels=labels, scale=drawing.scale, panels=panels
        )
        if output_dir is not None:
            outputs.files(pipeline, drawing, requests, output_dir)
        elif game_sheet:
            outputs.game_sheet(pipeline, drawing, requests, columns, output)
        elif output.suffix.lower() == ".png":
            outputs.sheet(pipeline, drawing, requests, lay_out, output)
        else:
            outputs.animation(pipeline, drawing, requests, lay_out, output)
    except (ValueError, TypeError) as error:
        fail(error)
    except OSError as error:
        fail(f"{error.filename or output_dir or output}: {error.strerror}." if error.strerror else error)


_OPTION = Annotated[Words, typer.Option(help=TRAINING)]
spread(
    generate,
    "type",
    [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=_OPTION) for name in ATTRIBUTES],
)
