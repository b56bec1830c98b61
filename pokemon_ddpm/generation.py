"""Many sprites of many types, each by its own seed."""

from collections.abc import Sequence

import torch
from PIL import Image

from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline, PokemonType

MAX_BATCH = 64


def generate(
    pipeline: PokemonDDPMPipeline, requests: Sequence[PokemonType], seed: int, **arguments: object
) -> list[Image.Image]:
    """Draws one sprite for each request, in batches of at most 64.

    Args:
        pipeline: The model.
        requests: One `pokemon_type` an image.
        seed: Image i is the picture of seed + i.
        **arguments: Further arguments of the pipeline (`num_inference_steps`, `guidance_scale`).
    """
    images: list[Image.Image] = []
    for start in range(0, len(requests), MAX_BATCH):
        part = list(requests[start : start + MAX_BATCH])
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        images += pipeline(part, generator=generators, **arguments).images
    return images
