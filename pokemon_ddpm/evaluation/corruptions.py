"""Sprites made worse in known ways, which give distances a scale.

Every corruption takes pictures, uint8 (N, 3, S, S) in RGB on white, a strength in [0, 1] and a seed, and returns
pictures of the same shape. Strength 0 changes nothing, and more strength changes more. What is done to a picture
depends on its pixels, its place among the pictures and the seed, never on the pictures after it.

Compare them with other pictures than the ones that they were made of, such as held-out ones with training pictures: to
its own originals a set is nearer than two sets of real pictures are to each other, and no interval holds.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage

PATCHES = 4
"""Patches along a side, of those that are shuffled."""


def blur(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Blurs with a Gaussian whose standard deviation is strength times an eighth of the side; beyond it is white.

    Of a standard deviation below a third of a pixel, rounding leaves nothing.

    Args:
        images: See above, as for the arguments and errors of all of these.
        strength: See above.
        seed: Without effect.

    Raises:
        ValueError: If the pictures are no such tensor, or the strength is not in [0, 1].
    """
    _check(images, strength)
    sigma = strength * images.shape[-1] / 8
    pixels = images.numpy().astype(np.float32)
    # No weights beyond the neighbouring pictures and channels: their standard deviation is 0.
    return _rounded(ndimage.gaussian_filter(pixels, (0, 0, sigma, sigma), mode="constant", cval=255.0))


def posterise(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Rounds every channel to few levels, 256 at strength 0 and 2 at strength 1, evenly spread from 0 to 255."""
    _check(images, strength)
    steps = round(2 ** (8 - 7 * strength)) - 1
    return _rounded(np.round(images.numpy() * (steps / 255)) * (255 / steps))


def shuffle_patches(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Moves patches of a grid of 4 x 4 to each other's places, in each picture others.

    Strength is the share of the patches that move; at a higher one the same and others do.

    Raises:
        ValueError: Also if the side is not a multiple of 4.
    """
    _check(images, strength)
    count, channels, side, _ = images.shape
    if side % PATCHES:
        raise ValueError(f"The side must be a multiple of {PATCHES} to be cut into patches, but is {side}.")
    size, total = side // PATCHES, PATCHES**2
    grid = images.view(count, channels, PATCHES, size, PATCHES, size).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = torch.from_numpy(np.random.default_rng(seed).random((count, total)).argsort(axis=1))
    moved = order[:, : round(strength * total)]
    source = torch.arange(total).repeat(count, 1)
    source.scatter_(1, moved, moved.roll(1, dims=1))  # each to the next one's place: none stays
    grid = grid[torch.arange(count)[:, None], source].unflatten(1, (PATCHES, PATCHES))
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def add_noise(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Adds Gaussian noise with a standard deviation of strength times 127.5 grey levels, and clips."""
    _check(images, strength)
    noise = np.random.default_rng(seed).standard_normal(tuple(images.shape), dtype=np.float32)
    return _rounded(images.numpy() + strength * 127.5 * noise)


def swap_palette(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Gives every sprite other colours of the same brightness: turns them about the axis of greys, by up to 180°.

    White, black and grey stay. Strength 1 is half a turn; what leaves the range is clipped. The seed has no effect.
    """
    _check(images, strength)
    pixels = images.numpy().astype(np.float64)
    r = np.array([1.0, 1.0, 1.0]) / math.sqrt(3)
    cross = np.array([[0, -r[2], r[1]], [r[2], 0, -r[0]], [-r[1], r[0], 0]])
    angle = math.pi * strength
    # Rodrigues' rotation formula
    turn = math.cos(angle) * np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * np.outer(r, r)
    return _rounded(np.einsum("dc,nchw->ndhw", turn, pixels))


CORRUPTIONS: dict[str, Callable[[torch.Tensor, float, int], torch.Tensor]] = {
    "blur": blur,
    "posterise": posterise,
    "shuffle_patches": shuffle_patches,
    "add_noise": add_noise,
    "swap_palette": swap_palette,
}


def _check(images: torch.Tensor, strength: float) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"Pictures must be uint8 (N, 3, S, S), but are {images.dtype} {tuple(images.shape)}.")
    if not 0 <= strength <= 1:
        raise ValueError(f"The strength must be from 0 to 1, but is {strength}.")


def _rounded(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.round().clip(0, 255).astype(np.uint8))
