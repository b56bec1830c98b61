"""Sprites made worse in known ways, which give distances a scale.

Every corruption takes pictures, uint8 (N, 3, S, S) in RGB on white, a strength in [0, 1] and a seed, and returns
pictures of the same shape. Strength 0 changes nothing, and more strength changes more. Strengths of different
corruptions do not compare: half the strength of one is plain to see, and of another nothing. What is done to a picture
depends on its pixels, its place among the pictures and the seed, never on the pictures after it.

Compare them with other pictures than the ones that they were made of, such as held-out ones with training pictures: to
its own originals a set is nearer than two sets of real pictures are to each other, and no interval holds.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from pokemon_ddpm.evaluation.picture_statistics import INK_TOLERANCE

PATCHES = 4
"""Patches along a side, of those that are shuffled."""

PALETTE = 16
"""Colours of a sprite that are told apart where its palette is swapped."""


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
    """Rounds every channel to few levels, 256 at strength 0 and 2 at strength 1, evenly spread from 0 to 255.

    Down to about 16 levels, strength 0.57, eyes see next to nothing of it, and a network need not either.
    """
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
    """Swaps the colours of a sprite's palette, in each sprite others; shape and background stay.

    The ink is divided into at most 16 groups of similar colours by median cut (Heckbert 1982); 16 is what a palette of
    the games' consoles holds. Strength is the share of the groups that take each other's mean colours; at a higher one
    the same and others do. Differences within a group stay. What leaves the range is clipped.
    """
    _check(images, strength)
    order = np.random.default_rng(seed).random((len(images), PALETTE)).argsort(axis=1)
    pixels = images.permute(0, 2, 3, 1).numpy().astype(np.float64)
    for picture, turn in zip(pixels, order, strict=True):
        ink = 255 - picture.min(axis=2) > INK_TOLERANCE
        if ink.any():
            picture[ink] = _swapped(picture[ink], strength, turn)
    return _rounded(pixels.transpose(0, 3, 1, 2))


CORRUPTIONS: dict[str, Callable[[torch.Tensor, float, int], torch.Tensor]] = {
    "blur": blur,
    "posterise": posterise,
    "shuffle_patches": shuffle_patches,
    "add_noise": add_noise,
    "swap_palette": swap_palette,
}


def _swapped(ink: np.ndarray, strength: float, turn: np.ndarray) -> np.ndarray:
    """The pixels (P, 3) of a sprite after the exchange; `turn` is the order in which the groups take part."""
    row = Image.fromarray(ink.astype(np.uint8)[None])
    found = row.quantize(PALETTE, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    # Entries that no pixel has are left out.
    _, group = np.unique(np.asarray(found)[0], return_inverse=True)
    count = int(group.max()) + 1
    means = np.stack([ink[group == number].mean(axis=0) for number in range(count)])
    moved = turn[turn < count][: round(strength * count)]
    source = np.arange(count)
    source[moved] = np.roll(moved, 1)  # each to the next one's place: none stays
    return ink + (means[source] - means)[group]


def _check(images: torch.Tensor, strength: float) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"Pictures must be uint8 (N, 3, S, S), but are {images.dtype} {tuple(images.shape)}.")
    if not 0 <= strength <= 1:
        raise ValueError(f"The strength must be from 0 to 1, but is {strength}.")


def _rounded(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.round().clip(0, 255).astype(np.uint8))
