"""Choosing among samples: a model of what readers said of sprites, and the best of several candidates."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from PIL import Image
from torch import Tensor, nn

from pokemon_ddpm import RELEASED
from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.pipelines.input_checks import is_distilled
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sprite_preprocessing import oklab
from pokemon_ddpm.pipelines.sprite_unet import SpriteUNet2DModel
from pokemon_ddpm.postprocessing import to_sprite
from pokemon_ddpm.preprocessing import as_arrays, as_tensor

RELEASED_RANKER = RELEASED / "sprite-ranker"
VERDICTS = ("quality", "face", "known")  # 1 to 5; shares of the readers
WEIGHTS = (1.0, 0.8, -2.0)  # of the verdicts in a score; sprites of high quality are known ones more often
BATCH_SIZE = 32
CANDIDATES = 8  # by default, where a sample takes a few passes of the network only
DARK = 0.3


class SpriteRanker(ModelMixin, ConfigMixin):
    """Predicts the mean verdicts of readers from a processed sprite.

    A denoising network knows what creatures look like (Baranchuk et al. 2022, *Label-Efficient Semantic Segmentation
    with Diffusion Models*). It sees the sprite with a fixed noise at one timestep; the verdicts are a linear function
    of the mean, maximum and standard deviation of each channel of its middle block and its first two decoder blocks
    above, and of the logarithm of its denoising error. Sprites face left, so a mirror image says nothing more.

    Args:
        network: Configuration of its `SpriteUNet2DModel`.
        timestep: Of the noise.
        alpha_bar: Of that timestep in the noise schedule.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, network: dict[str, Any], timestep: int, alpha_bar: float):
        super().__init__()
        self.unet = SpriteUNet2DModel(**network)
        size, channels = network["sample_size"], network["in_channels"]
        self.activations: list[Tensor] = []
        widths = network["block_out_channels"]
        blocks = (self.unet.mid_block, self.unet.up_blocks[1], self.unet.up_blocks[2])
        for block in blocks:
            block.register_forward_hook(lambda _module, _inputs, output: self.activations.append(output))
        self.head = nn.Linear(1 + 3 * (widths[-1] + widths[-2] + widths[-3]), len(VERDICTS))
        self.register_buffer("class_embedding", torch.zeros(self.unet.time_embedding.linear_2.out_features))
        self.register_buffer("noise", torch.zeros(channels, size, size))

    def features(self, images: Tensor) -> Tensor:
        """What the verdicts are a linear function of, float32 (N, F), of sprites, uint8 (N, C, S, S)."""
        clean = (images.to(self.device).float() / 127.5 - 1) * self.unet.config.scaling_factor
        alpha_bar = self.config.alpha_bar
        noisy = (alpha_bar**0.5 * clean + (1 - alpha_bar) ** 0.5 * self.noise).to(self.dtype)
        self.activations.clear()
        labels = self.class_embedding.expand(len(images), -1)
        predicted = self.unet(noisy, self.config.timestep, labels, return_dict=False)[0].float()
        error = (predicted - clean).square().mean(dim=(1, 2, 3)).log()[:, None]
        parts = [each.float().flatten(2) for each in self.activations]
        return torch.cat([error, *(f for each in parts for f in (each.mean(2), each.amax(2), each.std(2)))], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """The verdicts, float32 (N, 3) in the order of `VERDICTS`, of processed sprites, uint8 (N, 4, S, S)."""
        return nn.functional.linear(self.features(images), self.head.weight.float(), self.head.bias.float())

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """One number for each sprite, float32 (N,), higher for better: the verdicts weighted by `WEIGHTS`."""
        verdicts = torch.cat([self(part) for part in images.split(BATCH_SIZE)])
        return verdicts.cpu() @ torch.tensor(WEIGHTS)


def looks(sprites: torch.Tensor) -> dict[str, np.ndarray]:
    """What a ranker should not simply like: size, darkness, colorfulness, redness and yellowness, each float64 (N,).

    They are the share of the image that is opaque, and of these pixels the share with a lightness below `DARK`, the
    mean chroma and the means of a and b, in OKLab. Sprites are uint8 (N, 4, S, S).
    """
    pixels = as_arrays(sprites)
    opaque, (lightness, a, b) = pixels[..., 3] > 0, np.moveaxis(oklab(pixels[..., :3]), -1, 0)
    size = opaque.mean(axis=(1, 2))
    inside = {"darkness": lightness < DARK, "colorfulness": np.hypot(a, b), "redness": a, "yellowness": b}
    means = {name: (opaque * each).mean(axis=(1, 2)) / np.maximum(size, 1e-6) for name, each in inside.items()}
    return {"size": size, **means}


def load_ranker(device: str | torch.device = "cpu") -> SpriteRanker:
    """The released ranker, in float32."""
    return SpriteRanker.from_pretrained(RELEASED_RANKER, torch_dtype=torch.float32).requires_grad_(False).to(device)


def can_rank(pipeline: PokemonDDPMPipeline) -> bool:
    """Whether the released ranker is for the pipeline's images: sprites of its shape, with types as it has seen."""
    if not pipeline.conditioner.has_types:
        return False
    network = SpriteRanker.load_config(RELEASED_RANKER)["network"]
    return pipeline.sample_shape == (network["in_channels"], network["sample_size"], network["sample_size"])


def ranker_for(pipeline: PokemonDDPMPipeline) -> SpriteRanker | None:
    """The released ranker on the pipeline's device; None if it is for others."""
    return load_ranker(pipeline.device) if can_rank(pipeline) else None


def default_candidates(pipeline: PokemonDDPMPipeline) -> int:
    """`CANDIDATES` of a distilled model whose samples the ranker can score; others would take seconds a sprite: 1."""
    return CANDIDATES if is_distilled(pipeline.scheduler) and can_rank(pipeline) else 1


def generate_best(
    pipeline: PokemonDDPMPipeline,
    requests: Sequence[SpriteRequest],
    candidates: int,
    ranker: SpriteRanker,
    **arguments: Any,
) -> Iterator[tuple[SpriteRequest, Image.Image]]:
    """The best of several samples for each request, as `generate` makes them.

    A request with seed s chooses among s to s + `candidates` - 1; give requests whose seeds are as far apart.

    Args:
        arguments: As of `generate`.

    Yields:
        The request with the chosen seed, which alone gives the same sample, and the sample, not processed.

    Raises:
        ValueError: If the samples have another shape than the ranker's sprites.
    """
    if candidates > 1 and pipeline.sample_shape != tuple(ranker.noise.shape):
        wanted, found = ("x".join(map(str, shape)) for shape in (ranker.noise.shape, pipeline.sample_shape))
        raise ValueError(f"The ranker needs samples of {wanted}, but this model makes {found}; choose 1 candidate.")
    tried = [replace(each, seed=each.seed + i) for each in requests for i in range(candidates)]
    samples = generate(pipeline, tried, **arguments)
    for start in range(0, len(tried), candidates):
        group = list(itertools.islice(samples, candidates))
        best = int(ranker.score(as_tensor(map(to_sprite, group))).argmax()) if candidates > 1 else 0
        yield tried[start + best], group[best]
