"""`pokemon-ddpm describe`, `describe-data` and `explain`: about a model, about the sprites, and about diffusion."""

from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import MAX_SEED, Model, fail, load, make_folder, parse_type

COLUMNS = 9  # of the figures of `explain`
DPI = 100


def describe(
    model: Annotated[
        str,
        typer.Argument(
            help="Folder of a trained model, or its name on the Hub.", show_default=Path(RELEASED_MODEL).name
        ),
    ] = RELEASED_MODEL,
) -> None:
    """Shows what a model is and which conditions it knows."""
    from pokemon_ddpm.models import model_name
    from pokemon_ddpm.schedulers import sampler_name

    pipeline = load(model)
    config, scheduler = pipeline.config, pipeline.scheduler
    parameters = sum(p.numel() for part in (pipeline.unet, pipeline.conditioner) for p in part.parameters())
    _, height, width = pipeline.sample_shape
    typer.echo(
        f"{model_name(model)}\n{width}x{height} pixels, {parameters / 1e6:.1f} million parameters\n"
        f"by default {config.num_inference_steps} inference steps of {sampler_name(scheduler)} with a guidance scale "
        f"of {config.guidance_scale:g}; trained with {scheduler.config.num_train_timesteps:,} timesteps of "
        f"{scheduler.config.beta_schedule} and {scheduler.config.prediction_type}"
    )
    for attribute, values in pipeline.conditioner.vocabulary.items():
        typer.echo(f"{attribute}: {', '.join(values)}")


def describe_data(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="The sprite archive, a folder or .zip.", show_default="the starter set"),
    ] = None,
    config_name: Annotated[str | None, typer.Option(help="front or all.", show_default="front")] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder for the report and its figures.")] = Path("data-report"),
) -> None:
    """Writes a report of the sprites with figures.

    It has counts, types, colors, sizes, duplicates and corrections.
    """
    if directory is not None:
        from pokemon_ddpm.dataset_scripts.sprite_archive import SpriteArchive

        SpriteArchive(directory)  # refuses other folders before datasets is imported
        archive, report = directory.resolve(), output_dir.resolve()
        if report.is_relative_to(archive) and "sprites" in report.relative_to(archive).parts:
            fail(f"--output-dir {output_dir} is among the sprites. Its figures would be read as sprites.")
    make_folder("--output-dir", output_dir)

    from pokemon_ddpm import load_sprites
    from pokemon_ddpm.data_report import REPORT, write_report

    source = "The starter set" if directory is None else f"{directory.resolve().name} ({config_name or 'front'})"
    sprites = load_sprites(directory, config_name)
    summary = write_report(sprites, output_dir, source, starter=directory is None)
    typer.echo(f"{summary}: {output_dir / REPORT}")


def explain(
    model: Model = RELEASED_MODEL,
    type: Annotated[str, typer.Option(help="Type of the sprite in the reverse process.")] = "fire",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of all noise.")] = 0,
    output_dir: Annotated[Path, typer.Option(help="Folder for the two figures.")] = Path("."),
) -> None:
    """Writes two figures of the diffusion process.

    They show a starter sprite in the forward process, and a new one in the reverse process.
    """
    make_folder("--output-dir", output_dir)

    from pokemon_ddpm import load_sprites
    from pokemon_ddpm.files import save_figure
    from pokemon_ddpm.generation import SpriteRequest, evenly_spaced, generate_with_steps
    from pokemon_ddpm.plots import forward_process_figure, reverse_process_figure
    from pokemon_ddpm.preprocessing import mode_of, preprocess

    pipeline = load(model)
    image = load_sprites(split="train")[0]["image"]
    ((_, steps),) = generate_with_steps(pipeline, [SpriteRequest(seed, parse_type(type))])
    forward, reverse = output_dir / "forward_process.png", output_dir / "reverse_process.png"
    channels, _, side = pipeline.sample_shape
    pixels = preprocess(image, side, mode_of(channels))[..., :3]  # white where it is transparent
    save_figure(forward_process_figure(pixels, COLUMNS, seed), forward, DPI)
    save_figure(reverse_process_figure(evenly_spaced(steps, COLUMNS)), reverse, DPI)
    typer.echo(f"{forward} and {reverse}")
