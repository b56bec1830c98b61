"""The pipeline of a run, and sheets of its samples."""

import copy
from collections.abc import Mapping
from pathlib import Path

from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError

from pokemon_ddpm.diffusion import ConditionalDenoiser, make_sampler, student_scheduler
from pokemon_ddpm.files import save_image, write_file
from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.models import LICENSE_FILE, locate_model
from pokemon_ddpm.pipelines.file_checks import read_file
from pokemon_ddpm.pipelines.model_folder import LICENSE_KEY, license_terms
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.publishing.cards import run_card, write_card
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.vocabulary import USUAL

DEFAULT_SAMPLER = "sde-dpmsolver++"  # as the default number of steps, see docs/sampling.md
GUIDANCE_SCALE = 3.0
IMAGE_GUIDANCE_SCALE = 3.0  # by a reference, see docs/report.md
SHEET_COLUMNS, SHEET_PANELS = 2, 3


def averaged(denoiser: ConditionalDenoiser, ema: EMAModel | None) -> ConditionalDenoiser:
    """A copy in evaluation mode, with the EMA weights if there are any."""
    denoiser = copy.deepcopy(denoiser).eval()
    if ema is not None:
        ema.copy_to(denoiser.parameters())
    return denoiser


def make_pipeline(
    denoiser: ConditionalDenoiser, scheduler: DDPMScheduler, config: TrainingConfig
) -> PokemonDDPMPipeline:
    """The pipeline of a denoiser with a few-step sampler; a student's has no guidance, which it has learned."""
    vocabulary = denoiser.conditioner.vocabulary
    usual = {name: value for name, value in USUAL.items() if value in vocabulary.get(name, ())}
    parts, steps = (denoiser.unet, denoiser.conditioner), config.ddpm_num_inference_steps
    if config.distill_from:
        return PokemonDDPMPipeline(*parts, student_scheduler(scheduler), steps, 1.0, usual)
    by_reference = IMAGE_GUIDANCE_SCALE if "relation" in vocabulary else 1.0
    sampler = make_sampler(DEFAULT_SAMPLER, scheduler)
    return PokemonDDPMPipeline(*parts, sampler, steps, GUIDANCE_SCALE, usual, by_reference)


def save_model(
    pipeline: PokemonDDPMPipeline,
    config: TrainingConfig,
    step: int,
    counts: Mapping[str, int],
    metrics: Mapping[str, float],
) -> None:
    """Saves the pipeline with its model card (see `run_card`) into the output folder.

    The LICENSE of the folder of initial weights goes with them.

    Raises:
        ValueError: If it cannot be written.
    """
    folder, base = Path(config.output_dir), config.initial_weights
    try:
        card = run_card(pipeline, config, folder.resolve().name, step, counts, metrics)
        pipeline.conditioner.register_to_config(**{LICENSE_KEY: license_terms(card.data.to_dict())})
        pipeline.save_pretrained(folder)
        if base and (source := Path(locate_model(base), LICENSE_FILE)).exists():
            write_file(folder / LICENSE_FILE, read_file(source, source.parent))
        write_card(folder, card)
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"The model could not be written into {folder} ({error}).") from error


def save_sheet(pipeline: PokemonDDPMPipeline, path: Path, seed: int) -> None:
    """Saves a sheet of samples of each type, with seeds from `seed`."""
    types = pipeline.conditioner.vocabulary["type"]
    rows = [name for name in types for _ in range(SHEET_COLUMNS)]
    requests = [SpriteRequest(seed + i, name) for i, name in enumerate(rows)]
    pipeline.set_progress_bar_config(disable=True)
    images = list(generate(pipeline, requests))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(sprite_sheet(images, SHEET_COLUMNS, types, panels=SHEET_PANELS), path)
