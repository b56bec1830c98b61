"""`pokemon-ddpm describe`, `describe-data` and `explain`: about a model, about the sprites, and about diffusion."""

from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import (
    MAX_SEED,
    Model,
    SpriteConfig,
    load,
    make_folder,
    parse_type,
    sprite_configs,
)

SHOWN_STEPS = 9  # in the figures of `explain`
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
    config_name: SpriteConfig = None,
    output_dir: Annotated[Path, typer.Option(help="Folder for the page.")] = Path("data-page"),
) -> None:
    """Writes README.md, the card of the sprites as a data set, with counts and tables.

    It is the page that push-dataset puts on the Hub.
    """
    configs = sprite_configs(directory and str(directory), config_name)
    make_folder("--output-dir", output_dir)

    from pokemon_ddpm import load_sprites
    from pokemon_ddpm.files import write_file
    from pokemon_ddpm.publishing.dataset_card import dataset_card

    sprites = {config: load_sprites(directory, config) for config in configs}
    name = "starter-sprites" if directory is None else directory.resolve().name
    write_file(output_dir / "README.md", dataset_card(f"user/{name}", sprites).content)
    typer.echo(f"The page of the data set: {output_dir / 'README.md'}")


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
    save_figure(forward_process_figure(pixels, SHOWN_STEPS, seed), forward, DPI)
    save_figure(reverse_process_figure(evenly_spaced(steps, SHOWN_STEPS)), reverse, DPI)
    typer.echo(f"{forward} and {reverse}")
