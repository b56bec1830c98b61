"""Memorization: whether samples are nearer to the training images than held-out images are."""

import math
from typing import Any, NamedTuple

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
TRAIN_BATCH_SIZE = 1024  # in float64 images take eight times the memory


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
    counts = {"nearer": share(samples < threshold), "identical": int((samples == 0).sum()), "n": n, "m": m}
    return {"threshold": threshold, "chance_low": chance_low, "chance_high": chance_high, **counts}
