"""Bits per dimension: how well a model would compress pictures, an upper bound on their negative log-likelihood."""

import math
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.noise_schedule import VARIANCE_TYPES, NoiseSchedule
from pokemon_ddpm.objectives import add_noise
from pokemon_ddpm.pipelines.compatibility import is_distilled
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.variational_bound import bits, bound_term, prior_term

TIMESTEPS_A_PICTURE = 40
BATCH = 64


@dataclass(frozen=True)
class BitsPerDim:
    """The variational bound of a set of pictures, in bits per dimension.

    Attributes:
        mean: Over the pictures.
        standard_error: Of the mean: the pictures' standard deviation by the root of their number, in which the chance
            of the timesteps and of the noise is included.
        prior: Mean of L_T.
        decoder: Mean of L_0.
        count: Number of pictures.
    """

    mean: float
    standard_error: float
    prior: float
    decoder: float
    count: int


def drawn_timesteps(
    pictures: int, num_train_timesteps: int, each: int, generator: torch.Generator
) -> tuple[torch.Tensor, float]:
    """Timesteps of the terms L_1 to L_{T-1} to compute for each picture.

    Args:
        pictures: Number of pictures N.
        num_train_timesteps: T.
        each: How many for a picture, n, each from one of n equal parts of the range; from T - 1 on, all.
        generator: Where from.

    Returns:
        int64 (N, n) in [1, T - 1], and the factor that makes the sum over them an unbiased estimate of the sum of all.
    """
    terms = num_train_timesteps - 1
    if each >= terms:
        return torch.arange(1, num_train_timesteps).repeat(pictures, 1), 1.0
    position = torch.rand(pictures, each, generator=generator, dtype=torch.float64)
    position = (torch.arange(each) + position) / each * terms
    return 1 + position.long().clamp(max=terms - 1), terms / each


def check_likelihood(pipeline: PokemonDDPMPipeline, type_names: tuple[str, ...]) -> None:
    """Refuses a model whose bound cannot be computed.

    Args:
        pipeline: See `bits_per_dim`.
        type_names: Classes of the pictures.

    Raises:
        ValueError: If the model was distilled or trained on other classes, or the scheduler does not say what variance
            the reverse process has.
    """
    scheduler = pipeline.scheduler
    if is_distilled(scheduler):
        raise ValueError(
            "Bits per dimension add up all timesteps, and this model was distilled to a few; take its teacher."
        )
    if tuple(pipeline.conditioner.vocabulary["type"]) != type_names:
        raise ValueError("The model was trained on other classes than these pictures have.")
    if scheduler.config.get("variance_type") not in VARIANCE_TYPES:
        raise ValueError(
            "Bits per dimension need a scheduler that says what variance the model was trained with, by a "
            f"variance_type of {', '.join(VARIANCE_TYPES)}; this {type(scheduler).__name__} does not."
        )


@torch.no_grad()
def bits_per_dim(
    pipeline: PokemonDDPMPipeline,
    data: SpriteTensors,
    timesteps_a_picture: int | None = TIMESTEPS_A_PICTURE,
    seed: int = 0,
    description: str = "",
) -> BitsPerDim:
    """Estimates the variational bound on the negative log-likelihood of pictures under their own labels.

    L_0 + ... + L_T of Nichol & Dhariwal 2021, equations 4 to 7: L_T in closed form, L_0 computed for every picture,
    the terms between estimated from evenly spread timesteps, without bias. The predicted x_0 is clipped to [-1, 1],
    as in sampling. The variance is the scheduler's `variance_type`.

    Args:
        pipeline: The model; its scheduler must have the noise schedule and the variance that it was trained with.
        data: The pictures.
        timesteps_a_picture: How many of the terms L_1 to L_{T-1} are computed for each picture; None for all, which
            gives the bound itself but for the noise's chance.
        seed: Of timesteps and noise.
        description: For the progress bar.

    Raises:
        ValueError: If there is no picture or fewer than one timestep is asked for; see `check_likelihood`.
    """
    if not len(data) or (timesteps_a_picture is not None and timesteps_a_picture < 1):
        raise ValueError("Bits per dimension need at least one picture and one timestep a picture.")
    check_likelihood(pipeline, data.type_names)
    device, scheduler = pipeline.unet.device, pipeline.scheduler
    schedule = NoiseSchedule.of(scheduler, device)
    data = data.described(pipeline.conditioner.any_ids).to(device)
    generator = torch.Generator().manual_seed(seed)
    each = len(schedule) if timesteps_a_picture is None else timesteps_a_picture
    timesteps, factor = drawn_timesteps(len(data), len(schedule), each, generator)
    timesteps = torch.cat([torch.zeros(len(data), 1, dtype=torch.int64), timesteps], dim=1)
    rows = torch.arange(len(data)).repeat_interleave(timesteps.shape[1])
    terms = torch.empty(len(rows), dtype=torch.float64)
    for start in tqdm(range(0, len(rows), BATCH), desc=description or "Bits per dimension"):
        part = slice(start, start + BATCH)
        chosen, t = rows[part].to(device), timesteps.view(-1)[part].to(device)
        clean = data.images[chosen].float() / 127.5 - 1
        noise = torch.randn(clean.shape, generator=generator).to(device)
        noisy = add_noise(schedule, clean, noise, t)
        labels = {attribute: ids[chosen] for attribute, ids in data.labels.items()}
        embedding = pipeline.conditioner(labels)
        prediction = pipeline.unet(noisy.to(pipeline.unet.dtype), t, class_labels=embedding, return_dict=False)[0]
        terms[part] = bound_term(
            schedule,
            scheduler.config.prediction_type,
            scheduler.config.variance_type,
            prediction.float(),
            clean,
            noisy,
            t,
            clip_clean=True,
        ).cpu()
    return _summary(schedule, data, terms.view(len(data), -1), factor)


def _summary(schedule: NoiseSchedule, data: SpriteTensors, terms: torch.Tensor, factor: float) -> BitsPerDim:
    """Adds up the terms (N, 1 + n) of each picture: L_0, then those between."""
    prior = bits(prior_term(schedule, data.images.to(schedule.beta.dtype) / 127.5 - 1)).cpu()
    decoder = bits(terms[:, 0])
    total = prior + decoder + factor * bits(terms[:, 1:]).sum(dim=1)
    error = total.std().item() / math.sqrt(len(total)) if len(total) > 1 else math.nan
    return BitsPerDim(total.mean().item(), error, prior.mean().item(), decoder.mean().item(), len(total))
