"""Bits per dimension: the variational bound on the negative log-likelihood of images."""

import math
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import VARIANCE_TYPES, NoiseSchedule, add_noise
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline, is_distilled
from pokemon_ddpm.variational_bound import bits, bound_term, prior_term

NUM_TIMESTEPS = 40
BATCH_SIZE = 64


@dataclass(frozen=True)
class BitsPerDim:
    """The variational bound of a set of images, in bits per dimension.

    Attributes:
        mean: Over the images.
        standard_error: Of the mean, from the images' standard deviation; NaN for one image.
        prior: Mean of L_T.
        decoder: Mean of L_0.
        count: Number of images.
    """

    mean: float
    standard_error: float
    prior: float
    decoder: float
    count: int


def sampled_terms(
    count: int, num_train_timesteps: int, num_timesteps: int, generator: torch.Generator
) -> tuple[torch.Tensor, float]:
    """Timesteps of the terms L_1 to L_{T-1} to compute for each of `count` images.

    Returns:
        int64 (count, n) in [1, T - 1], one from each of n = `num_timesteps` equal parts of the range, or all if n is
        T - 1 or more; and the factor with which the sum over them is an unbiased estimate of the sum of all terms.
    """
    terms = num_train_timesteps - 1
    if num_timesteps >= terms:
        return torch.arange(1, num_train_timesteps).repeat(count, 1), 1.0
    position = torch.rand(count, num_timesteps, generator=generator, dtype=torch.float64)
    position = (torch.arange(num_timesteps) + position) / num_timesteps * terms
    return 1 + position.long().clamp(max=terms - 1), terms / num_timesteps


def check_likelihood(pipeline: PokemonDDPMPipeline, type_names: tuple[str, ...]) -> None:
    """Raises ValueError if the bound of a model for images of these classes cannot be computed."""
    scheduler = pipeline.scheduler
    if is_distilled(scheduler):
        raise ValueError("A distilled model has no likelihood, because it has few timesteps; measure its teacher.")
    if tuple(pipeline.conditioner.vocabulary["type"]) != type_names:
        raise ValueError("The model was trained on other classes than these images have.")
    if scheduler.config.get("variance_type") not in VARIANCE_TYPES:
        raise ValueError(
            f"The likelihood needs a scheduler with a variance_type of {', '.join(VARIANCE_TYPES)}, which this "
            f"{type(scheduler).__name__} does not have."
        )


@torch.no_grad()
def bits_per_dim(
    pipeline: PokemonDDPMPipeline,
    data: SpriteTensors,
    num_timesteps: int | None = NUM_TIMESTEPS,
    seed: int = 0,
    desc: str = "Bits per dimension",
) -> BitsPerDim:
    """Estimates the variational bound of images given their labels, L_0 + ... + L_T.

    L_0 and L_T (Nichol & Dhariwal 2021, equations 4 to 7) are computed for every image, the terms between are
    estimated without bias. The predicted x_0 is clipped to [-1, 1], as in sampling.

    Args:
        pipeline: The model, with the noise schedule and the `variance_type` that it was trained with.
        data: At least one image.
        num_timesteps: Number of terms between L_0 and L_T that are computed for each image; None for all.
        seed: Of timesteps and noise.
        desc: Of the progress bar.

    Raises:
        ValueError: See `check_likelihood`.
    """
    check_likelihood(pipeline, data.type_names)
    device, config = pipeline.unet.device, pipeline.scheduler.config
    schedule, types = NoiseSchedule.of(pipeline.scheduler, device), (config.prediction_type, config.variance_type)
    data = data.conditioned_on(pipeline.conditioner.any_ids).to(device)
    generator = torch.Generator().manual_seed(seed)
    timesteps, factor = sampled_terms(len(data), len(schedule), num_timesteps or len(schedule), generator)
    timesteps = torch.cat([torch.zeros(len(data), 1, dtype=torch.int64), timesteps], dim=1)
    rows = torch.arange(len(data)).repeat_interleave(timesteps.shape[1])
    terms = torch.empty(len(rows), dtype=torch.float64)
    for start in tqdm(range(0, len(rows), BATCH_SIZE), desc=desc):
        part = slice(start, start + BATCH_SIZE)
        batch, t = data.rows(rows[part].to(device)), timesteps.view(-1)[part].to(device)
        clean = batch.images.float() / 127.5 - 1
        noise = torch.randn(clean.shape, generator=generator).to(device)
        noisy = add_noise(schedule, clean, noise, t)
        embedding = pipeline.conditioner(batch.labels)
        prediction = pipeline.unet(noisy.to(pipeline.unet.dtype), t, class_labels=embedding, return_dict=False)[0]
        terms[part] = bound_term(schedule, *types, prediction.float(), clean, noisy, t, clip_clean=True).cpu()
    terms = bits(terms.view(len(data), -1))
    prior = bits(prior_term(schedule, data.images.to(schedule.beta.dtype) / 127.5 - 1)).cpu()
    total = prior + terms[:, 0] + factor * terms[:, 1:].sum(dim=1)
    error = total.std().item() / math.sqrt(len(total)) if len(total) > 1 else math.nan
    return BitsPerDim(total.mean().item(), error, prior.mean().item(), terms[:, 0].mean().item(), len(total))
