"""Small sets of images of known types, and networks that recognize exactly what is in them."""

from typing import TYPE_CHECKING

import torch

from pokemon_ddpm.vocabulary import TYPES

if TYPE_CHECKING:
    from pokemon_ddpm.data import SpriteTensors
    from pokemon_ddpm.evaluation.images import SampleSet
    from pokemon_ddpm.files import Provenance

SIDE = 32


def blob_images(count: int, seed: int, kinds: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Discs on white, red 40 for the first type, 80 for the second and so on, random otherwise; and their type ids."""
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
    return images, types


def blobs(count: int, seed: int, kinds: int = 3) -> "SpriteTensors":
    """`blob_images` with labels of one type each."""
    from pokemon_ddpm.data import SpriteTensors

    images, types = blob_images(count, seed, kinds)
    return SpriteTensors(images, {"type": torch.stack([types, torch.full_like(types, len(TYPES))], dim=1)})


class RedNetwork:
    """Its features are the image in 2x2 cells and the foreground's mean red, in which it sees `blob_images`' type."""

    name, dimension, vocabulary = "reds", 13, {"type": TYPES}

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        foreground = (images.amin(dim=1) < 255).float()
        red = (images[:, 0].float() * foreground).sum(dim=(1, 2)) / foreground.sum(dim=(1, 2)).clamp(min=1)
        cells = torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)
        kinds = ((red - 40) / 40).round().long().clamp(0, len(TYPES) - 1)
        logits = {"type": 8 * torch.nn.functional.one_hot(kinds, len(TYPES)).float() - 4}
        return torch.cat([cells, red[:, None] / 255], dim=1), logits


def provenance(seed: int = 0, **values: object) -> "Provenance":
    """Of a sample that was conditioned on fire, in two steps without guidance."""
    from pokemon_ddpm.files import Provenance

    settings = {"scheduler": "ddim", "num_inference_steps": 2, "guidance_scale": 1.0, "dtype": "float32"}
    values = {"model": "model", "condition": {"type": "fire"}, "chunk_size": 4, **settings, **values}
    return Provenance(seed=seed, **values)


def as_samples(images: torch.Tensor, types: list[str] | None = None) -> "SampleSet":
    """Samples that were conditioned on these types, or on none."""
    from pokemon_ddpm.evaluation.images import SampleSet

    types = types or [None] * len(images)
    return SampleSet(images, tuple(provenance(seed, condition={"type": name}) for seed, name in enumerate(types)))


def type_names(data: "SpriteTensors") -> list[str]:
    """The first type of each image."""
    return [data.type_names[k] for k in data.labels["type"][:, 0].tolist()]
