"""The command `pokemon-ddpm`."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pokemon_ddpm import RELEASED_MODEL

if TYPE_CHECKING:
    from pokemon_ddpm import PokemonDDPMPipeline

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

ALL_TYPES = "all"
MAX_COLUMNS = 8


@app.callback()
def about() -> None:
    """New Pokémon of a chosen type, by a class-conditional DDPM."""


@app.command()
def generate(
    model: Annotated[
        str,
        typer.Option(
            help="Folder of a trained model, or its name on the Hub.",
            show_default="the one that comes with the project",
        ),
    ] = RELEASED_MODEL,
    type: Annotated[
        list[str] | None,
        typer.Option(
            help='"fire", "fire/flying" (both), "fire/none" (purely fire), "any", or "all" for a row of every type. '
            "Can be given several times; each is a row."
        ),
    ] = None,
    view: Annotated[str | None, typer.Option(help="front or back, of models trained on both.")] = None,
    finish: Annotated[str | None, typer.Option(help="normal or shiny, of models trained on both.")] = None,
    num_images: Annotated[int, typer.Option(min=1, help="Sprites of each type.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Sprite i of the sheet is the picture of seed + i.")] = 0,
    num_inference_steps: Annotated[int, typer.Option(help="Denoising steps.")] = 50,
    guidance_scale: Annotated[float, typer.Option(help="Strength of the type; 1 is no guidance.")] = 2.0,
    scale: Annotated[int, typer.Option(min=1, help="Enlargement on the sheet, without smoothing.")] = 4,
    panels: Annotated[int, typer.Option(min=1, help="Spread the rows over this many panels side by side.")] = 1,
    output: Annotated[Path, typer.Option(help="The sheet, a PNG.")] = Path("sprites.png"),
) -> None:
    """Draws sprites and lays them out on one sheet."""
    if output.suffix.lower() != ".png":
        _fail(f"--output {output} must end in .png.")
    _check_file(output)

    from pokemon_ddpm.generation import generate as draw  # after the cheap checks: torch takes seconds to import
    from pokemon_ddpm.sheets import sprite_sheet

    try:
        pipeline = _load(model)
        known = pipeline.conditioner.vocabulary["type"]
        requests = [name for asked in type or ["any"] for name in (known if asked.lower() == ALL_TYPES else [asked])]
        images = draw(
            pipeline,
            [name for name in requests for _ in range(num_images)],
            seed,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            view=view,
            finish=finish,
        )
    except (ValueError, OSError) as error:
        _fail(str(error))
    alone = len(requests) == 1  # then its sprites may wrap into several rows
    columns = min(num_images, MAX_COLUMNS) if alone else num_images
    try:
        sprite_sheet(images, columns, () if alone else requests, scale, panels).save(output)
    except OSError as error:
        _fail(f"--output {output} cannot be written: {error.strerror or error}.")
    typer.echo(f"{len(images)} sprite{'s' * (len(images) > 1)} in {output}")


@app.command()
def bits_per_dim(
    model: Annotated[
        str,
        typer.Option(
            help="Folder of a trained model, or its name on the Hub.",
            show_default="the one that comes with the project",
        ),
    ] = RELEASED_MODEL,
    data_dir: Annotated[
        str | None, typer.Option(help="The sprite archive, as a folder or .zip.", show_default="the starter set")
    ] = None,
    config_name: Annotated[
        str | None, typer.Option(help="front, all or starter.", show_default="front, or starter without data")
    ] = None,
    preprocessing: Annotated[str, typer.Option(help="fit or thesis, as in training.")] = "fit",
    split: Annotated[
        list[str] | None, typer.Option(help="Can be given several times.", show_default="train and validation")
    ] = None,
    num_images: Annotated[int, typer.Option(min=2, help="Pictures of each split, the same number of all.")] = 400,
    timesteps: Annotated[int, typer.Option(min=1, help="Terms of the bound computed for each picture.")] = 40,
    full: Annotated[bool, typer.Option("--full", help="All terms of the bound; takes long.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of pictures, timesteps and noise.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Also write the figures into this JSON file.")] = None,
) -> None:
    """Measures the variational bound on the negative log-likelihood, in bits per dimension.

    The difference between training and held-out pictures tells how far the model knows the former by heart.
    """
    if output is not None:
        _check_file(output)

    from pokemon_ddpm import load_sprites, sprite_tensors
    from pokemon_ddpm.evaluation.likelihood import bits_per_dim as measure

    try:
        pipeline = _load(model)
        splits = {name: load_sprites(data_dir, config_name, split=name) for name in split or ["train", "validation"]}
        count = min(num_images, *(len(rows) for rows in splits.values()))
        if count < 2:
            raise ValueError("A split of one picture says nothing of its error: every split needs at least two.")
        found = {}
        for name, rows in splits.items():
            rows = rows.shuffle(seed=seed).select(range(count))
            data = sprite_tensors(rows, pipeline.sample_shape[-1], preprocessing)
            found[name] = measure(pipeline, data, None if full else timesteps, seed, description=name)
    except (ValueError, OSError) as error:
        _fail(str(error))
    for name, result in found.items():
        typer.echo(
            f"{name}: {result.mean:.3f} +- {result.standard_error:.3f} bits per dimension "
            f"(decoder {result.decoder:.3f}, prior {result.prior:.1e}; {result.count} pictures)"
        )
    if output is not None:
        figures = {name: dataclasses.asdict(result) for name, result in found.items()}
        output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _check_file(output: Path) -> None:
    """Refuses a file that cannot be written, before anything slow starts."""
    if output.is_dir():
        _fail(f"--output {output} is a folder.")
    if not output.parent.is_dir():
        _fail(f"--output {output}: there is no folder {output.parent}.")


def _load(model: str) -> "PokemonDDPMPipeline":
    """Loads a model onto the best device there is: CUDA, then MPS, then the CPU."""
    import torch

    from pokemon_ddpm import PokemonDDPMPipeline

    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return PokemonDDPMPipeline.from_pretrained(model).to(device)


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(2)


def main() -> None:
    """Entry point of the installed command."""
    app()
