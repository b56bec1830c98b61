"""Small sets of pictures of known kinds, and networks that see exactly what is in them."""

import torch

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.vocabulary import TYPES

SIDE = 32


def blobs(count: int, seed: int, kinds: int = 3) -> SpriteTensors:
    """Discs on white whose red is by type: 40 for the first, 80 for the second, and so on; all else is random."""
    generator = torch.Generator().manual_seed(seed)
    types = torch.arange(count) % kinds
    places = torch.randint(10, 22, (count, 2), generator=generator)
    radii = torch.randint(4, 10, (count,), generator=generator)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    far = (y - places[:, :1, None]) ** 2 + (x - places[:, 1:, None]) ** 2
    images = torch.full((count, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    shades = torch.randint(0, 200, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    shades[:, 0] = (40 + 40 * types).to(torch.uint8)[:, None, None]
    inside = (far < radii[:, None, None] ** 2)[:, None].expand_as(images)
    images[inside] = shades[inside]
    labels = {"type": torch.stack([types, torch.full_like(types, len(TYPES))], dim=1)}
    return SpriteTensors(images, labels)


class MeanExtractor:
    """Features: the picture in 2x2 cells, and its mean red where it is not white."""

    name, dimension = "means", 13

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.float() / 255
        cells = torch.nn.functional.adaptive_avg_pool2d(pixels, 2).flatten(1)
        return torch.cat([cells, reds(images)[:, None] / 255], dim=1)


class RedClassifier:
    """Sees the type by the red, as `blobs` paints it."""

    name = "reds"
    words = {"type": TYPES}

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        kinds = ((reds(images) - 40) / 40).round().long().clamp(0, len(TYPES) - 1)
        return {"type": 8 * torch.nn.functional.one_hot(kinds, len(TYPES)).float() - 4}


def reds(images: torch.Tensor) -> torch.Tensor:
    """Mean red of the pixels that are not white, (N,)."""
    ink = (images.amin(dim=1) < 255).float()
    return (images[:, 0].float() * ink).sum(dim=(1, 2)) / ink.sum(dim=(1, 2)).clamp(min=1)
