"""What a run leaves: the pipeline folder, and sheets of samples on the way."""

import copy
from pathlib import Path

from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel

from pokemon_ddpm.generation import generate
from pokemon_ddpm.models import ConditionalDenoiser
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.postprocessing import sprite_sheet

SHEET_COLUMNS, SHEET_PANELS = 2, 3


def make_pipeline(
    denoiser: ConditionalDenoiser, ema: EMAModel | None, scheduler: DDPMScheduler
) -> PokemonDDPMPipeline:
    """A pipeline of copies, so that the weights in training stay as they are; of the averages where there are any."""
    denoiser = copy.deepcopy(denoiser).eval()
    if ema is not None:
        ema.copy_to(denoiser.parameters())
    scheduler = DDPMScheduler.from_config(scheduler.config)
    return PokemonDDPMPipeline(denoiser.unet, denoiser.conditioner, scheduler)


def save_sheet(pipeline: PokemonDDPMPipeline, path: Path, num_inference_steps: int, seed: int) -> None:
    """Draws a row of sprites of every type, the same seeds each time, and saves them as one PNG."""
    types = pipeline.conditioner.vocabulary["type"]
    requests = [name for name in types for _ in range(SHEET_COLUMNS)]
    pipeline.set_progress_bar_config(disable=True)
    images = generate(pipeline, requests, seed, num_inference_steps=num_inference_steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    sprite_sheet(images, SHEET_COLUMNS, types, panels=SHEET_PANELS).save(path)
