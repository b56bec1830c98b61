"""Bits per dimension: the variational bound on the negative log-likelihood of training and of held-out images.

    python benchmarks/likelihood.py --data_dir path/to/pokemon-sprites pokemon-ddpm-64

The difference between both is overfitting. A distilled model has no likelihood.
"""

import argparse
import math
from typing import Any

import torch
from huggingface_hub.utils import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import NoiseSchedule, at, bound_term, gaussian_kl
from pokemon_ddpm.evaluation.evaluate import estimate
from pokemon_ddpm.evaluation.images import load_images, random_rows
from pokemon_ddpm.evaluation.metrics import averages
from pokemon_ddpm.generation import GenerationSettings
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sampling import is_distilled
from pokemon_ddpm.preprocessing import mode_of

NUM_TIMESTEPS = 40  # of each image at which a term between L_0 and L_T is computed
TERMS_BATCH_SIZE = 64


def check_likelihood(pipeline: PokemonDDPMPipeline) -> None:
    """Raises ValueError if a model has no likelihood."""
    variance, known = pipeline.scheduler.config.get("variance_type"), ("fixed_small", "fixed_large", "learned_range")
    if is_distilled(pipeline.scheduler) or variance not in known:
        wanted = f"all its timesteps and a variance_type of {', '.join(known)}"
        raise ValueError(f"The likelihood needs {wanted}, not {variance}; measure the teacher of a distilled model.")


def sampled_terms(count: int, terms: int, num_timesteps: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps of the terms L_1 to L_{T-1} to compute for each of `count` images, int64 (count, num_timesteps).

    There is one in each of as many equal parts of the range, so that their mean times T - 1, which is `terms`, is an
    unbiased estimate of the sum (Kingma et al. 2021, appendix I.1).
    """
    position = torch.rand(count, num_timesteps, generator=generator, dtype=torch.float64)
    position = (torch.arange(num_timesteps) + position) / num_timesteps * terms
    return 1 + position.long().clamp(max=terms - 1)


def prior_term(schedule: NoiseSchedule, clean: torch.Tensor) -> torch.Tensor:
    """L_T of each image, (B,), in nats per dimension (Nichol & Dhariwal 2021, equation 7)."""
    last = schedule.alpha_bar[-1]
    zero = torch.zeros_like(last)
    return gaussian_kl(last.sqrt() * clean, torch.log1p(-last), zero, zero).mean(dim=(1, 2, 3))


def term(
    schedule: NoiseSchedule,
    variance_type: str,
    prediction: torch.Tensor,
    clean: torch.Tensor,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
) -> torch.Tensor:
    """`bound_term` of the network's prediction at x_t, with the variance if that is learned, (B,).

    The predicted x_0 is clipped to the range of the samples, as in sampling. At the first timestep beta_t, too, has
    beta_tilde of the next one.
    """
    if variance_type == "learned_range":
        prediction, learned = prediction.chunk(2, dim=1)
        log_var = schedule.learned_log_variance(learned, timesteps)
    else:
        small = schedule.posterior_log_variance
        large = torch.cat([small[:1], schedule.beta[1:].log()])
        log_var = at(small if variance_type == "fixed_small" else large, timesteps)
    dtype, limit = schedule.beta.dtype, schedule.scaling_factor
    predicted = schedule.clean(prediction.to(dtype), noisy.to(dtype), timesteps).clamp(-limit, limit)
    return bound_term(schedule, predicted, log_var, clean, noisy, timesteps)


@torch.no_grad()
def bits_per_dim(pipeline: PokemonDDPMPipeline, data: SpriteTensors, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Estimates the bound of images given their labels (Nichol & Dhariwal 2021, equations 4 to 7).

    The images are as the model was trained on, which passes `check_likelihood`.

    Returns:
        In bits per dimension the "bound", and its parts "L_T", "L_1 to L_{T-1}" and "L_0"; see `averages`.
    """
    device = pipeline.unet.device
    scale, variance_type = pipeline.scaling_factor, pipeline.scheduler.config.variance_type
    schedule = NoiseSchedule.of(pipeline.scheduler, device, scale)
    data = data.conditioned_on(pipeline.conditioner.any_ids).to(device)
    generator = torch.Generator().manual_seed(seed)
    between = sampled_terms(len(data), len(schedule) - 1, NUM_TIMESTEPS, generator)
    timesteps = torch.cat([torch.zeros(len(data), 1, dtype=torch.int64), between], dim=1)
    rows = torch.arange(len(data)).repeat_interleave(timesteps.shape[1])
    terms = []
    parts = (values.split(TERMS_BATCH_SIZE) for values in (rows, timesteps.view(-1)))
    for part, t in tqdm([*zip(*parts, strict=True)], "Bits"):
        batch, t = data.rows(part.to(device)), t.to(device)
        clean = scale * (batch.images.float() / 127.5 - 1)
        noisy = schedule.add_noise(clean, torch.randn(clean.shape, generator=generator).to(device), t)
        given = pipeline.conditioner.vocabulary.keys() - pipeline.conditioner.sets  # never all in training
        embedding = pipeline.conditioner({name: batch.labels[name] for name in sorted(given)})
        prediction = pipeline.unet(noisy.to(pipeline.unet.dtype), t, class_labels=embedding, return_dict=False)[0]
        terms.append(term(schedule, variance_type, prediction.float(), clean, noisy, t).cpu())
    terms = torch.cat(terms).view(len(data), -1)
    prior = prior_term(schedule, scale * (data.images.to(schedule.beta.dtype) / 127.5 - 1)).cpu()
    parts = {"L_T": prior, "L_1 to L_{T-1}": (len(schedule) - 1) * terms[:, 1:].mean(dim=1), "L_0": terms[:, 0]}
    parts = {"bound": sum(parts.values()), **parts}
    return averages({name: (nats / math.log(2)).numpy() for name, nats in parts.items()}, seed)


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data_dir", help="the sprite archive, or own images; the starter sprites by default")
    arguments = parser.parse_args()
    titles = ["bound", "L_T", "L_1 to L_{T-1}", "L_0"]
    print(f"| model | images | {' | '.join(titles)} |\n|---|---|{'---:|' * len(titles)}")
    for model in arguments.models:
        pipeline = GenerationSettings(model).load()
        check_likelihood(pipeline)
        channels, resolution, _ = pipeline.sample_shape
        data = load_images(arguments.data_dir, "validation", resolution, mode_of(channels))
        count = min(len(data.train), len(data.held_out))
        for name, images in (("training", data.train), ("held-out", data.held_out)):
            bits = bits_per_dim(pipeline, images.rows(random_rows(len(images), count, seed=0)))
            print(f"| {model} | {name} | {' | '.join(estimate(bits[title]) for title in titles)} |", flush=True)


if __name__ == "__main__":
    main()
