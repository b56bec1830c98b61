"""Sprites between two: class embeddings are interpolated linearly, initial noise spherically (Shoemake 1985)."""

import torch
from PIL import Image

from pokemon_ddpm import PokemonDDPMPipeline


def slerp(a: torch.Tensor, b: torch.Tensor, weight: float) -> torch.Tensor:
    angle = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).clamp(-1, 1).acos()
    return (((1 - weight) * angle).sin() * a + (weight * angle).sin() * b) / angle.sin()


def interpolate(
    pipeline: PokemonDDPMPipeline, types: tuple[str, str], seeds: tuple[int, int], steps: int
) -> list[Image.Image]:
    """The sprites on the way from the first type and seed to the second ones, with their ends."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    ends = []
    for pokemon_type, generator in zip(types, generators, strict=True):
        ends.append(pipeline.encode_conditions(*pipeline.expand_conditions(pokemon_type, {}), [generator]))
    noises, weights = pipeline.prepare_latents(generators), [i / (steps - 1) for i in range(steps)]
    embeddings = torch.cat([torch.lerp(*ends, weight) for weight in weights])
    latents = torch.stack([slerp(*noises, weight) for weight in weights])
    same = [generators[0].clone_state() for _ in weights]  # for schedulers that add noise in each step
    return pipeline(class_embeddings=embeddings, latents=latents, generator=same).images
