"""Bits per dimension: the variational bound on the negative log-likelihood of images."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import NoiseSchedule, add_noise
from pokemon_ddpm.evaluation.images import random_rows
from pokemon_ddpm.files import write_file
from pokemon_ddpm.improved_ddpm import VARIANCE_TYPES, bound_term, prior_term
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline, is_distilled

NUM_TIMESTEPS = 40
BATCH_SIZE = 64


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


@torch.no_grad()
def bits_per_dim(
    pipeline: PokemonDDPMPipeline,
    data: SpriteTensors,
    num_timesteps: int = NUM_TIMESTEPS,
    seed: int = 0,
    title: str = "Bits per dimension",
) -> dict[str, float]:
    """Estimates the variational bound of images given their labels, L_0 + ... + L_T.

    L_0 and L_T (Nichol & Dhariwal 2021, equations 4 to 7) are computed for every image, the terms between are
    estimated without bias. The predicted x_0 is clipped to [-1, 1], as in sampling.

    Args:
        pipeline: The model, with the noise schedule and the `variance_type` that it was trained with.
        num_timesteps: Number of terms between L_0 and L_T that are computed for each image; all if there are fewer.
        seed: Of timesteps and noise.
        title: Of the progress bar.

    Returns:
        In bits per dimension: "mean" over the images and its "standard_error", NaN for one image; "prior" and
        "decoder", the means of L_T and L_0. And "count", the number of images.

    Raises:
        ValueError: If the model was distilled or trained on other classes, or its scheduler has no `variance_type`.
    """
    device, config = pipeline.unet.device, pipeline.scheduler.config
    if is_distilled(pipeline.scheduler):
        raise ValueError("A distilled model has no likelihood, because it has few timesteps; measure its teacher.")
    if tuple(pipeline.conditioner.vocabulary["type"]) != data.type_names:
        raise ValueError("The model was trained on other classes than these images have.")
    if config.get("variance_type") not in VARIANCE_TYPES:
        name, known = type(pipeline.scheduler).__name__, ", ".join(VARIANCE_TYPES)
        raise ValueError(f"The likelihood needs a variance_type of {known}, which this {name} does not have.")
    schedule, types = NoiseSchedule.of(pipeline.scheduler, device), (config.prediction_type, config.variance_type)
    data, scale = data.conditioned_on(pipeline.conditioner.any_ids).to(device), pipeline.scaling_factor
    generator = torch.Generator().manual_seed(seed)
    timesteps, factor = sampled_terms(len(data), len(schedule), num_timesteps, generator)
    timesteps = torch.cat([torch.zeros(len(data), 1, dtype=torch.int64), timesteps], dim=1)
    rows = torch.arange(len(data)).repeat_interleave(timesteps.shape[1])
    terms = torch.empty(len(rows), dtype=torch.float64)
    for start in tqdm(range(0, len(rows), BATCH_SIZE), title):
        part = slice(start, start + BATCH_SIZE)
        batch, t = data.rows(rows[part].to(device)), timesteps.view(-1)[part].to(device)
        clean = scale * (batch.images.float() / 127.5 - 1)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        noisy = add_noise(schedule, clean, noise, t)
        embedding = pipeline.conditioner(batch.labels)
        prediction = pipeline.unet(noisy.to(pipeline.unet.dtype), t, class_labels=embedding, return_dict=False)[0]
        prediction = prediction.float()
        terms[part] = bound_term(schedule, *types, prediction, clean, noisy, t, True, scale).cpu()
    terms = terms.view(len(data), -1) / math.log(2)  # nats to bits
    prior = prior_term(schedule, scale * (data.images.to(schedule.beta.dtype) / 127.5 - 1)).cpu() / math.log(2)
    total = prior + terms[:, 0] + factor * terms[:, 1:].sum(dim=1)
    return {
        "mean": total.mean().item(),
        "standard_error": total.std().item() / math.sqrt(len(total)) if len(total) > 1 else math.nan,
        "prior": prior.mean().item(),
        "decoder": terms[:, 0].mean().item(),
        "count": len(total),
    }


def kept_likelihood(
    pipeline: PokemonDDPMPipeline, train: SpriteTensors, held_out: SpriteTensors, folder: Path, seed: int = 0
) -> dict[str, Any]:
    """`bits_per_dim` of equally many training ("train") and held-out images ("held-out"), as in report.json.

    What was measured before is read from a file in the folder. "difference" is held-out minus train, with its
    "difference_standard_error".
    """
    file, weights = folder / "likelihood.json", weights_digest(pipeline.unet, pipeline.conditioner)
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    count = min(len(train), len(held_out))
    for name, data in (("train", train), ("held-out", held_out)):
        data = data.rows(random_rows(len(data), count, seed).sort().values)
        key = [weights, data.digest(), seed, NUM_TIMESTEPS]
        if kept.get(name, {}).get("of") != key:
            found = bits_per_dim(pipeline, data, NUM_TIMESTEPS, seed, f"Bits per dimension, {name}")
            kept[name] = {"of": key, "found": found}
            write_file(file, json.dumps(kept, indent=2) + "\n")
    found = {name: each["found"] for name, each in kept.items()}
    difference = found["held-out"]["mean"] - found["train"]["mean"]
    error = sum(each["standard_error"] ** 2 for each in found.values()) ** 0.5
    return {**found, "difference": difference, "difference_standard_error": error}
