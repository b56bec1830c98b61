"""The command `pokemon-ddpm`."""

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
    if output.is_dir():
        _fail(f"--output {output} is a folder.")
    if not output.parent.is_dir():
        _fail(f"--output {output}: there is no folder {output.parent}.")

    from pokemon_ddpm.generation import generate as draw  # after the cheap checks: torch takes seconds to import
    from pokemon_ddpm.postprocessing import sprite_sheet

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
