"""`pokemon-ddpm describe`: about a model."""

from pathlib import Path
from typing import Annotated

import typer

from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.commands.common import load


def describe(
    model: Annotated[
        str,
        typer.Argument(
            help="Folder of a trained model, or its name on the Hub.", show_default=Path(RELEASED_MODEL).name
        ),
    ] = RELEASED_MODEL,
) -> None:
    """Shows what a model is and which conditions it knows."""
    from pokemon_ddpm.diffusion import sampler_name
    from pokemon_ddpm.models import model_name

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
