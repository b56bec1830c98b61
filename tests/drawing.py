"""Drawing with a tiny pipeline in tests."""

import math

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from PIL import Image

from pokemon_ddpm import PokemonDDPMPipeline

FIRE, FLYING, WATER, ANY = 6, 7, 17, 19
ANY_STEPS = [DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler]
SCHEDULERS = [DDIMScheduler, *ANY_STEPS]  # DDIM's number of steps must divide that of training
SHAPE = (3, 16, 16)


def alpha_bar(t: int) -> float:
    """Of the cosine schedule, from its definition."""
    f = [math.cos((i / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(t + 2)]
    return math.prod(1 - min(1 - after / before, 0.999) for before, after in zip(f, f[1:], strict=False))


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def with_scheduler(pipeline: PokemonDDPMPipeline, scheduler_class: type) -> PokemonDDPMPipeline:
    pipeline.scheduler = scheduler_class.from_config(pipeline.scheduler.config)
    return pipeline


def trained_with(pipeline: PokemonDDPMPipeline, scheduler: SchedulerMixin) -> PokemonDDPMPipeline:
    """The same parts, as if the network had been trained on the scheduler's noise schedule."""
    made = PokemonDDPMPipeline(pipeline.unet, pipeline.conditioner, scheduler)
    made.set_progress_bar_config(disable=True)
    return made


def record_calls(pipeline: PokemonDDPMPipeline) -> list[tuple[int, int]]:
    """The (batch size, timestep) of every later call of the network."""
    calls: list[tuple[int, int]] = []
    pipeline.unet.register_forward_pre_hook(lambda _, given: calls.append((len(given[0]), int(given[1]))))
    return calls


def draw(pipeline: PokemonDDPMPipeline, pokemon_type=None, steps: int = 3, output_type: str = "pt", **arguments):
    return pipeline(pokemon_type, num_inference_steps=steps, output_type=output_type, **arguments).images


def grey_levels(one: list[Image.Image], other: list[Image.Image]) -> int:
    """The largest difference of any pixel."""
    assert len(one) == len(other)
    return max(
        int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())
        for a, b in zip(one, other, strict=True)
    )
