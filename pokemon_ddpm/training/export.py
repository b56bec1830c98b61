"""What a run leaves: the pipeline folder, and sheets of samples on the way."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError

from pokemon_ddpm.distillation import student_scheduler
from pokemon_ddpm.generation import SpriteRequest, generate, giving_up
from pokemon_ddpm.models import ConditionalDenoiser
from pokemon_ddpm.pipelines.cards import write_card
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.schedulers import make_sampler
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.training.card import run_card
from pokemon_ddpm.training.config import TrainingConfig

DEFAULT_SAMPLER = "unipc"  # measured by benchmarks/samplers.py, as is the number of steps
SHEET_COLUMNS, SHEET_PANELS = 2, 3


def averaged(denoiser: ConditionalDenoiser, ema: EMAModel | None) -> ConditionalDenoiser:
    """A copy for use, so that the weights in training stay as they are; of the averages where there are any."""
    denoiser = copy.deepcopy(denoiser).eval()
    if ema is not None:
        ema.copy_to(denoiser.parameters())
    return denoiser


def make_pipeline(
    denoiser: ConditionalDenoiser, scheduler: DDPMScheduler, config: TrainingConfig
) -> PokemonDDPMPipeline:
    """The pipeline of a denoiser, with a scheduler of its own that draws in few steps.

    Args:
        denoiser: The weights.
        scheduler: That of the training.
        config: The run's. Of a student, whose teacher's guidance is folded in, the pipeline guides no further.
    """
    parts, steps = (denoiser.unet, denoiser.conditioner), config.ddpm_num_inference_steps
    if config.distill_from:
        return PokemonDDPMPipeline(*parts, student_scheduler(scheduler), steps, guidance_scale=1.0)
    return PokemonDDPMPipeline(*parts, make_sampler(DEFAULT_SAMPLER, scheduler), steps)


def save_model(
    pipeline: PokemonDDPMPipeline,
    config: TrainingConfig,
    step: int,
    counts: Mapping[str, int],
    metrics: Mapping[str, float],
) -> None:
    """Makes a run's output folder the pipeline's, with a model card.

    Args:
        pipeline: The model.
        config: The run's.
        step: Updates made.
        counts: Pictures by split.
        metrics: What was measured of the model; may be empty.

    Raises:
        ValueError: If it cannot be written.
    """
    folder = Path(config.output_dir)
    try:
        pipeline.save_pretrained(folder)
        write_card(folder, run_card(pipeline, config, folder.resolve().name, step, counts, metrics))
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"The model could not be written into {folder} ({error}).") from error


def save_sheet(pipeline: PokemonDDPMPipeline, path: Path, seed: int, interrupted: Callable[[], bool]) -> None:
    """Draws a row of sprites of every type, the same seeds each time, and saves them as one PNG.

    Args:
        pipeline: The model; of one that knows several views and finishes, the sheet shows normal fronts.
        path: The sheet.
        seed: Of the first sprite.
        interrupted: Asked after each step.

    Raises:
        Interrupted: If that says yes.
    """
    types = pipeline.conditioner.vocabulary["type"]
    usual = {"view": "front", "finish": "normal"}
    words = {name: word for name, word in usual.items() if name in pipeline.conditioner.vocabulary}
    rows = [name for name in types for _ in range(SHEET_COLUMNS)]
    requests = [SpriteRequest(seed + i, name, words) for i, name in enumerate(rows)]

    pipeline.set_progress_bar_config(disable=True)
    images = list(generate(pipeline, requests, callback_on_step_end=giving_up(interrupted)))
    path.parent.mkdir(parents=True, exist_ok=True)
    sprite_sheet(images, SHEET_COLUMNS, types, panels=SHEET_PANELS).save(path)
