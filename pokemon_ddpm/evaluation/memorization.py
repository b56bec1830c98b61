"""The nearest training images of samples, and how many samples are copies."""

from typing import NamedTuple

import numpy as np
import torch
from huggingface_hub.utils import tqdm
from torch.nn import functional

# The largest shift in pixels, and images at once; in float64 they take much memory.
MOVED, IMAGE_BATCH, TRAIN_BATCH = 2, 32, 1024
NEAR = 0.5  # of a copy: this share of the median distance of held-out images


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
    for batch in tqdm(images.split(IMAGE_BATCH), "Nearest training images"):
        batch = 255 - batch.to(train.device)
        views = _mirrored_and_shifted(batch).flatten(0, 1).double()
        relative = []  # to the norm of the image, which is the same for all
        for part in train.split(TRAIN_BATCH):
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
    padded = functional.pad(views, [MOVED] * 4)
    windows = padded.unfold(3, side, 1).unfold(4, side, 1)  # (B, 2, 3, 5, 5, S, S)
    return windows.permute(0, 1, 3, 4, 2, 5, 6).flatten(1, 3).flatten(2)


def count_copies(samples: torch.Tensor, train: torch.Tensor, held_out: torch.Tensor) -> int:
    """How many samples are at most `NEAR` times as far from a training image as held-out images usually are.

    All are uint8 (N, 3, S, S), `train` on the device to compute on.
    """
    usual = nearest_by_pixels(held_out, train).distance.median().item()
    return int((nearest_by_pixels(samples, train).distance <= NEAR * usual).sum())
