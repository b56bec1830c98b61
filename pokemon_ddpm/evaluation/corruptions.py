"""Corruptions of known strength, which give the distances between sets of images a scale.

Each function takes images, uint8 (N, 3, S, S) in RGB on white, a strength from 0 (no change) to 1, and a seed. It
returns images of the same shape. Strengths of different corruptions are not comparable. The result for an image does
not depend on the images after it.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

FOREGROUND_TOLERANCE = 8  # a pixel is foreground if a channel is further from white than this; less is noise
PATCHES = 4
PALETTE_SIZE = 16  # colors of a palette in the games


def blur(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Gaussian blur with a standard deviation of `strength` times S / 8; white outside the image."""
    sigma = strength * images.shape[-1] / 8
    pixels = images.numpy().astype(np.float32)
    return _as_uint8(ndimage.gaussian_filter(pixels, (0, 0, sigma, sigma), mode="constant", cval=255.0))


def posterise(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Rounds every channel to 2^(8 - 7 strength) evenly spaced levels."""
    steps = round(2 ** (8 - 7 * strength)) - 1
    return _as_uint8(np.round(images.numpy() * (steps / 255)) * (255 / steps))


def shuffle_patches(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Moves a share of `strength` of the patches in a grid of 4 x 4 to each other's places; S is a multiple of 4."""
    count, channels, side, _ = images.shape
    size, total = side // PATCHES, PATCHES**2
    grid = images.view(count, channels, PATCHES, size, PATCHES, size).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = torch.from_numpy(np.random.default_rng(seed).random((count, total)).argsort(axis=1))
    moved = order[:, : round(strength * total)]
    source = torch.arange(total).repeat(count, 1)
    source.scatter_(1, moved, moved.roll(1, dims=1))  # a cycle, in which no patch keeps its place
    grid = grid[torch.arange(count)[:, None], source].unflatten(1, (PATCHES, PATCHES))
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def add_noise(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Adds Gaussian noise with a standard deviation of `strength` times 127.5 gray levels."""
    noise = np.random.default_rng(seed).standard_normal(tuple(images.shape), dtype=np.float32)
    return _as_uint8(images.numpy() + strength * 127.5 * noise)


def move_pixels(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Moves a share of `strength` of the pixels by one, each to the place of a neighbor, which takes its place.

    RGBA is possible too. The pixels are moved one after the other, horizontally or vertically.
    """
    count, channels, height, width = images.shape
    generator = np.random.default_rng(seed)
    pixels = images.permute(0, 2, 3, 1).reshape(count, height * width, channels).numpy().copy()
    order = generator.random((count, height * width)).argsort(axis=1)[:, : round(strength * height * width)]
    turn = generator.integers(4, size=order.shape)
    y, x = np.divmod(order, width)
    y = (y + np.array([0, 1, 0, -1])[turn]).clip(0, height - 1)
    x = (x + np.array([1, 0, -1, 0])[turn]).clip(0, width - 1)
    rows = np.arange(count)
    for here, there in zip(order.T, (y * width + x).T, strict=True):
        pixels[rows, here], pixels[rows, there] = pixels[rows, there], pixels[rows, here]
    return torch.from_numpy(pixels.reshape(count, height, width, channels)).permute(0, 3, 1, 2).contiguous()


def swap_palette(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Exchanges the mean colors of a share of `strength` of the groups of similar colors in the foreground.

    Median cut (Heckbert 1982) makes at most 16 groups per image. Differences within a group stay.
    """
    order = np.random.default_rng(seed).random((len(images), PALETTE_SIZE)).argsort(axis=1)
    pixels = images.permute(0, 2, 3, 1).numpy().astype(np.float64)
    for image, turn in zip(pixels, order, strict=True):
        foreground = 255 - image.min(axis=2) > FOREGROUND_TOLERANCE
        if foreground.any():
            image[foreground] = _swapped(image[foreground], strength, turn)
    return _as_uint8(pixels.transpose(0, 3, 1, 2))


def _swapped(colors: np.ndarray, strength: float, order: np.ndarray) -> np.ndarray:
    """Foreground pixels (P, 3) after the exchange; `order` is the order in which groups take part."""
    row = Image.fromarray(colors.astype(np.uint8)[None])
    quantized = row.quantize(PALETTE_SIZE, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    _, group = np.unique(np.asarray(quantized)[0], return_inverse=True)
    count = int(group.max()) + 1
    means = np.stack([colors[group == number].mean(axis=0) for number in range(count)])
    moved = order[order < count][: round(strength * count)]
    source = np.arange(count)
    source[moved] = np.roll(moved, 1)
    return colors + (means[source] - means)[group]


def _as_uint8(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.round().clip(0, 255).astype(np.uint8))


CORRUPTIONS: dict[str, Callable[[torch.Tensor, float, int], torch.Tensor]] = {
    each.__name__: each for each in (blur, posterise, shuffle_patches, add_noise, swap_palette)
}
