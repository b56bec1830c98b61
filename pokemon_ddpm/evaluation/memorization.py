"""Memorization: whether samples are nearer to the training images than held-out images are."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import stats
from tqdm.auto import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.preprocessing import as_tensor, on_white, over_white

NUM_COPY_SAMPLES, NEAR = 32, 0.5  # of `count_copies`
MAX_SHIFT = 2
QUANTILE = 0.05
BATCH_SIZE = 32
# In float32 a squared distance is accurate to a millionth of the squared norms: the nearest image may not be the first
# by this distance, but it is one of the first.
CANDIDATES = 8


@dataclass(frozen=True)
class Nearest:
    """The nearest training image of each image."""

    distance: torch.Tensor  # float64 (N,); for pixels, the root mean square difference in [0, 255]
    index: torch.Tensor  # int64 (N,), positions in the training set; the first of equally near images


def nearest_by_pixels(images: torch.Tensor, train: torch.Tensor) -> Nearest:
    """Finds the nearest training image by pixels, over mirror images and shifts of up to 2 pixels along each axis.

    Images are on an infinite white background: pixels that a shift moves out of the frame count too. With
    x = 255 - image, |s(x) - t|^2 = |x|^2 + |t|^2 - 2 <s(x), t> for a shift s, so matrix products in float32 give all
    distances. The nearest images by these are compared again exactly, so the result does not depend on batches.

    `images` are uint8 (N, 3, S, S), `train` uint8 (M, 3, S, S) on the device to compute on.
    """
    inverted = (255 - train).flatten(1)
    # In parts, because float64 takes eight times the memory.
    norms = torch.cat([part.double().square().sum(dim=1) for part in inverted.split(256)])
    columns = inverted.float().T
    squared, indices = [], []
    for batch in tqdm(images.split(BATCH_SIZE), "Nearest training images"):
        batch = 255 - batch.to(train.device)
        views = _mirrored_and_shifted(batch)  # (B, V, 3 S^2)
        products = (views.flatten(0, 1).float() @ columns).view(len(batch), -1, len(train)).amax(dim=1)
        near = (norms.float() - 2 * products).topk(min(CANDIDATES, len(train)), largest=False).indices
        near = near.sort(dim=1).values
        # Whole numbers below 2^53, so nothing is rounded.
        exact = (views.double() @ inverted[near].double().transpose(1, 2)).amax(dim=1)
        own_norms = batch.double().square().sum(dim=(1, 2, 3))
        least = (own_norms[:, None] + norms[near] - 2 * exact).min(dim=1)
        squared.append(least.values.cpu())
        indices.append(near.gather(1, least.indices[:, None])[:, 0].cpu())
    # NumPy rounds the root correctly; PyTorch does not.
    distance = np.sqrt(torch.cat(squared).numpy() / len(columns))
    return Nearest(torch.from_numpy(distance), torch.cat(indices))


def nearest_by_features(features: torch.Tensor, mirrored: torch.Tensor, train: torch.Tensor) -> Nearest:
    """Finds the nearest training image by the Euclidean distance of features, over mirror images.

    `features` are float (N, D), `mirrored` those of `images.flip(-1)`, and `train` float (M, D).
    """
    train, least = train.double(), []
    for views in torch.stack([features, mirrored]).double().split(BATCH_SIZE, dim=1):
        # Without matrix products, so that equal features have distance 0.
        distances = torch.cdist(views, train, compute_mode="donot_use_mm_for_euclid_dist")
        least.append(distances.amin(dim=0).min(dim=1))
    return Nearest(*map(torch.cat, zip(*least, strict=True)))


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

    The threshold is the k-th smallest of the M held-out distances, k = ceil(M / 20). If samples have the same
    distribution, the number of samples below it is beta-binomial with parameters N, k and M + 1 - k.

    Returns:
        "threshold": The 5 % quantile of the held-out distances.
        "nearer": `Share` of the samples with a smaller distance.
        "chance_low", "chance_high": The 95 % range of this share if samples are distributed as held-out images are.
        "identical": Number of samples at distance 0.
        "n", "m": Number of samples and of held-out images.
    """
    # Here, since training imports this module without the packages of the extra, which these need.
    from pokemon_ddpm.evaluation.metrics import LEVEL, share

    n, m = len(samples), len(held_out)
    k = math.ceil(QUANTILE * m)
    threshold = held_out.kthvalue(k).values.item()
    nearer = share(int((samples < threshold).sum()), n)
    chance_low, chance_high = (float(end) / n for end in stats.betabinom.interval(LEVEL, n, k, m + 1 - k))
    return {
        "threshold": threshold,
        "nearer": nearer,
        "chance_low": chance_low,
        "chance_high": chance_high,
        "identical": int((samples == 0).sum()),
        "n": n,
        "m": m,
    }
