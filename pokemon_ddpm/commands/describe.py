"""`pokemon-ddpm describe`: what a model is and what it knows."""

from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import fail, load


def describe(
    model: Annotated[
        str,
        typer.Argument(
            help="Folder of a trained model, or its name on the Hub.",
            show_default="the one that comes with the project",
        ),
    ] = RELEASED_MODEL,
) -> None:
    """Tells what a model is, and the words that it can be asked for."""
    from pokemon_ddpm.schedulers import sampler_name

    try:
        pipeline = load(model)
    except (ValueError, OSError) as error:
        fail(error)
    config, scheduler = pipeline.config, pipeline.scheduler
    parameters = sum(p.numel() for part in (pipeline.unet, pipeline.conditioner) for p in part.parameters())
    _, height, width = pipeline.sample_shape
    typer.echo(f"{model}\n{width}x{height} pixels, {parameters / 1e6:.1f} million parameters")
    typer.echo(
        f"draws in {config.num_inference_steps} steps of {sampler_name(scheduler)} with a guidance of "
        f"{config.guidance_scale:g}; trained with {scheduler.config.num_train_timesteps:,} timesteps of "
        f"{scheduler.config.beta_schedule}, predicting {scheduler.config.prediction_type}"
    )
    for attribute, words in pipeline.conditioner.vocabulary.items():
        typer.echo(f"{attribute}: {', '.join(words)}")
