"""Memorization: whether samples are nearer to the training images than held-out images are.

Also bits per dimension, the variational bound on the negative log-likelihood of training and of held-out images.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import NoiseSchedule, bound_term, prior_term
from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sampling import is_distilled
from pokemon_ddpm.preprocessing import as_tensor, on_white, over_white

NUM_COPY_SAMPLES, NEAR = 32, 0.5  # of `count_copies`
MAX_SHIFT = 2
QUANTILE = 0.05
BATCH_SIZE = 32
TRAIN_BATCH_SIZE = 1024  # in float64 images take eight times the memory
NUM_TIMESTEPS = 40  # of each image at which a term between L_0 and L_T is computed
TERMS_BATCH_SIZE = 64


class Nearest(NamedTuple):
    """The nearest training image of each image."""

    distance: torch.Tensor  # float64 (N,), the root mean square difference in [0, 255]
    index: torch.Tensor  # int64 (N,), positions in the training set; the first of equally near images


def nearest_by_pixels(images: torch.Tensor, train: torch.Tensor) -> Nearest:
    """Finds the nearest training image by pixels, over mirror images and shifts of up to 2 pixels along each axis.

    Images are uint8 (N, 3, S, S), `train` on the device to compute on, on an infinite white background: pixels that a
    shift moves out of the frame count too. With x = 255 - image, |s(x) - t|^2 = |x|^2 + |t|^2 - 2 <s(x), t> for shifts
    s. All are whole numbers below 2^53, so in float64 nothing is rounded.
    """
    squared, indices = [], []
    for batch in tqdm(images.split(BATCH_SIZE), "Nearest training images"):
        batch = 255 - batch.to(train.device)
        views = _mirrored_and_shifted(batch).flatten(0, 1).double()
        relative = []  # to the norm of the image, which is the same for all
        for part in train.split(TRAIN_BATCH_SIZE):
            inverted = (255 - part).flatten(1).double()
            products = (views @ inverted.T).view(len(batch), -1, len(part)).amax(dim=1)
            relative.append(inverted.square().sum(dim=1) - 2 * products)
        least = torch.cat(relative, dim=1).min(dim=1)
        squared.append((batch.double().square().sum(dim=(1, 2, 3)) + least.values).cpu())
        indices.append(least.indices.cpu())
    # NumPy rounds the root correctly; PyTorch does not.
    distance = np.sqrt(torch.cat(squared).numpy() / train[0].numel())
    return Nearest(torch.from_numpy(distance), torch.cat(indices))


def _mirrored_and_shifted(inverted: torch.Tensor) -> torch.Tensor:
    """Inverted images (B, 3, S, S) and their mirror images, with all shifts: (B, V, 3 S^2)."""
    side = inverted.shape[-1]
    views = torch.stack([inverted, inverted.flip(-1)], dim=1)
    padded = torch.nn.functional.pad(views, [MAX_SHIFT] * 4)
    windows = padded.unfold(3, side, 1).unfold(4, side, 1)  # (B, 2, 3, 5, 5, S, S)
    return windows.permute(0, 1, 3, 4, 2, 5, 6).flatten(1, 3).flatten(2)


def count_copies(pipeline: PokemonDDPMPipeline, train: SpriteTensors, held_out: SpriteTensors) -> tuple[int, int]:
    """Of how many samples how many are near a training image: at most half as far as held-out images usually are."""
    types = pipeline.conditioner.vocabulary["type"]
    requests = [SpriteRequest(seed, types[seed % len(types)]) for seed in range(NUM_COPY_SAMPLES)]
    pipeline.set_progress_bar_config(disable=True)
    samples = as_tensor(map(on_white, generate(pipeline, requests)))
    images, held_out = over_white(train.images), over_white(held_out.images.cpu())
    usual = nearest_by_pixels(held_out, images).distance.median().item()
    return int((nearest_by_pixels(samples, images).distance <= NEAR * usual).sum()), len(samples)


def memorization(samples: torch.Tensor, held_out: torch.Tensor) -> dict[str, Any]:
    """Compares the distances to the nearest training image, float (N,) of samples and (M,) of held-out images.

    "nearer" is the `share` of samples below the "threshold", the k-th smallest of the M held-out distances with k =
    ceil(M / 20). "chance_low" and "chance_high" are its 95 % range if samples have the same distribution: their number
    is then beta-binomial with parameters N, k and M + 1 - k. "identical" is the number of samples at distance 0.
    """
    # Here, since training imports this module without the packages of the extra, which these need.
    from pokemon_ddpm.evaluation.metrics import LEVEL, share

    n, m = len(samples), len(held_out)
    k = math.ceil(QUANTILE * m)
    threshold = held_out.kthvalue(k).values.item()
    chance_low, chance_high = (float(end) / n for end in stats.betabinom.interval(LEVEL, n, k, m + 1 - k))
    found = {"threshold": threshold, "nearer": share(samples < threshold), "identical": int((samples == 0).sum())}
    return {**found, "chance_low": chance_low, "chance_high": chance_high, "n": n, "m": m}


def check_likelihood(pipeline: PokemonDDPMPipeline) -> None:
    """Raises ValueError if a model has no likelihood."""
    found, known = pipeline.scheduler.config.get("variance_type"), ("fixed_small", "fixed_large", "learned_range")
    if is_distilled(pipeline.scheduler) or found not in known:
        wanted = f"all its timesteps and a variance_type of {', '.join(known)}"
        raise ValueError(f"The likelihood needs {wanted}, not {found}; measure the teacher of a distilled model.")


def sampled_terms(count: int, terms: int, num_timesteps: int, generator: torch.Generator) -> torch.Tensor:
    """Timesteps of the terms L_1 to L_{T-1} to compute for each of `count` images, int64 (count, num_timesteps).

    There is one in each of as many equal parts of the range, so that their mean times T - 1, which is `terms`, is an
    unbiased estimate of the sum (Kingma et al. 2021, appendix I.1).
    """
    position = torch.rand(count, num_timesteps, generator=generator, dtype=torch.float64)
    position = (torch.arange(num_timesteps) + position) / num_timesteps * terms
    return 1 + position.long().clamp(max=terms - 1)


@torch.no_grad()
def bits_per_dim(pipeline: PokemonDDPMPipeline, data: SpriteTensors, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Estimates the bound of images given their labels (Nichol & Dhariwal 2021, equations 4 to 7).

    The images are as the model was trained on, which passes `check_likelihood`. The predicted x_0 is clipped to the
    range of the samples, as in sampling.

    Returns:
        In bits per dimension the "bound", and its parts "L_T", "L_1 to L_{T-1}" and "L_0"; see `averages`.
    """
    from pokemon_ddpm.evaluation.metrics import averages  # as in `memorization`

    device = pipeline.unet.device
    scale, variance_type = pipeline.scaling_factor, pipeline.scheduler.config.variance_type
    schedule = NoiseSchedule.of(pipeline.scheduler, device, scale)
    data = data.conditioned_on(pipeline.conditioner.any_ids).to(device)
    generator = torch.Generator().manual_seed(seed)
    between = sampled_terms(len(data), len(schedule) - 1, NUM_TIMESTEPS, generator)
    timesteps = torch.cat([torch.zeros(len(data), 1, dtype=torch.int64), between], dim=1)
    rows = torch.arange(len(data)).repeat_interleave(timesteps.shape[1])
    terms = []
    parts = (each.split(TERMS_BATCH_SIZE) for each in (rows, timesteps.view(-1)))
    for part, t in tqdm([*zip(*parts, strict=True)], "Bits"):
        batch, t = data.rows(part.to(device)), t.to(device)
        clean = scale * (batch.images.float() / 127.5 - 1)
        noisy = schedule.add_noise(clean, torch.randn(clean.shape, generator=generator).to(device), t)
        given = pipeline.conditioner.vocabulary.keys() - pipeline.conditioner.sets  # never all in training
        embedding = pipeline.conditioner({name: batch.labels[name] for name in sorted(given)})
        prediction = pipeline.unet(noisy.to(pipeline.unet.dtype), t, class_labels=embedding, return_dict=False)[0]
        terms.append(bound_term(schedule, variance_type, prediction.float(), clean, noisy, t, clip_clean=True).cpu())
    terms = torch.cat(terms).view(len(data), -1)
    prior = prior_term(schedule, scale * (data.images.to(schedule.beta.dtype) / 127.5 - 1)).cpu()
    parts = {"L_T": prior, "L_1 to L_{T-1}": (len(schedule) - 1) * terms[:, 1:].mean(dim=1), "L_0": terms[:, 0]}
    parts = {"bound": sum(parts.values()), **parts}
    return averages({name: (nats / math.log(2)).numpy() for name, nats in parts.items()}, seed)
