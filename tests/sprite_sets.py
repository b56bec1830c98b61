"""Small sets of images of known types, and a network that recognizes exactly what is in them."""

import torch

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.images import SampleSet
from pokemon_ddpm.files import Provenance
from pokemon_ddpm.vocabulary import TYPES

SIDE = 32


def blobs(count: int, seed: int, kinds: int = 3) -> SpriteTensors:
    """Discs on white of one type each, red 40 for the first type, 80 for the second and so on, random otherwise."""
    generator = torch.Generator().manual_seed(seed)
    types = torch.arange(count) % kinds
    places = torch.randint(10, 22, (count, 2), generator=generator)
    radii = torch.randint(4, 10, (count,), generator=generator)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    squared = (y - places[:, :1, None]) ** 2 + (x - places[:, 1:, None]) ** 2
    images = torch.full((count, 3, SIDE, SIDE), 255, dtype=torch.uint8)
    shades = torch.randint(0, 200, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    shades[:, 0] = (40 + 40 * types).to(torch.uint8)[:, None, None]
    inside = (squared < radii[:, None, None] ** 2)[:, None].expand_as(images)
    images[inside] = shades[inside]
    return SpriteTensors(images, {"type": torch.stack([types, torch.full_like(types, len(TYPES))], dim=1)})


class RedNetwork:
    """Its features are the image in 2x2 cells and the foreground's mean red, in which it sees the type of `blobs`."""

    name, dimension, vocabulary = "reds", 13, {"type": TYPES}

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        foreground = (images.amin(dim=1) < 255).float()
        red = (images[:, 0].float() * foreground).sum(dim=(1, 2)) / foreground.sum(dim=(1, 2)).clamp(min=1)
        cells = torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)
        kinds = ((red - 40) / 40).round().long().clamp(0, len(TYPES) - 1)
        logits = {"type": 8 * torch.nn.functional.one_hot(kinds, len(TYPES)).float() - 4}
        return torch.cat([cells, red[:, None] / 255], dim=1), logits


def as_samples(images: torch.Tensor, types: list[str] | None = None) -> SampleSet:
    """Samples that were conditioned on these types, or on none, in two steps without guidance."""
    settings = {"scheduler": "ddim", "num_inference_steps": 2, "guidance_scale": 1.0, "dtype": "float32"}
    named = enumerate(types or [None] * len(images))
    settings |= {"model": "model", "chunk_size": 4}
    made = (Provenance(condition={"type": name}, seed=seed, **settings) for seed, name in named)
    return SampleSet(images, tuple(made))


def type_names(data: SpriteTensors) -> list[str]:
    return [data.type_names[k] for k in data.labels["type"][:, 0].tolist()]
