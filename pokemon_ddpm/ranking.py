"""A model of what readers said of sprites, which scores others, and of whether what was asked for is there."""

import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_FREE_MODEL
from pokemon_ddpm.models import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.file_checks import read_file
from pokemon_ddpm.vocabulary import BODIES

RANKING_MODELS = (RELEASED_FAST_MODEL, RELEASED_FREE_MODEL)  # whose networks rank sprites of their classes
RANKER_FILE = "ranker.safetensors"  # the linear layer, in the model's folder
PROBES_FILE = "probes.safetensors"  # beside it, see benchmarks/fit_probes.py
BODY = "body"  # the probe of `BODIES`; the others are of attributes
# Of the log probability of what was asked for. Of eight candidates the one that is taken has the given color in 62 %,
# without it in 44 %; the score is 0.17 lower.
MATCH_WEIGHT = 0.6
TIMESTEP = 300  # the best of 20, 100 and 300
VERDICTS = ("quality", "face", "known", "back")  # 1 to 5; shares of the readers; 0 to 5, as a back
WEIGHTS = (1.0, 0.8, -2.0, 0.0)  # of the verdicts in a score; sprites of high quality are known ones more often
BATCH_SIZE = 32


class SpriteRanker(nn.Module):
    """Predicts the mean verdicts of readers from a processed sprite.

    A denoising network knows what creatures look like (Baranchuk et al. 2022, *Label-Efficient Semantic Segmentation
    with Diffusion Models*). It sees the sprite with a fixed noise at one timestep; the verdicts are a linear function
    of the mean, maximum and standard deviation of each channel of its middle block and its first two decoder blocks
    above, and of the logarithm of its denoising error. Sprites face one side, so a mirror image says nothing more.
    So are the `probes` of attributes and bodies, whose log probabilities are the log-softmax. The network is that of
    the pipeline, in float32.
    """

    def __init__(self, pipeline: PokemonDDPMPipeline):
        super().__init__()
        self.unet, self.sample_shape = pipeline.unet, pipeline.sample_shape
        self.conditioner, self.scoring = pipeline.conditioner, threading.Lock()  # the hooks are of one call
        self.alpha_bar = float(pipeline.scheduler.alphas_cumprod[TIMESTEP])
        noise = torch.randn(self.sample_shape, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise, persistent=False)
        self.register_buffer("class_embedding", pipeline.conditioner.encode([None])[0].detach(), persistent=False)
        widths = self.unet.config.block_out_channels
        self.head = nn.Linear(1 + 3 * (widths[-1] + widths[-2] + widths[-3]), len(VERDICTS))
        self.probes = nn.ModuleDict()

    def features(self, images: Tensor) -> Tensor:
        """What the verdicts are a linear function of, float32 (N, F), of sprites, uint8 (N, C, S, S)."""
        return self.features_of(self.clean(images))

    def clean(self, images: Tensor) -> Tensor:
        """Sprites, uint8 (N, C, S, S), as samples without noise, float32."""
        return (images.to(self.noise.device).float() / 127.5 - 1) * self.unet.config.scaling_factor

    def features_of(self, clean: Tensor) -> Tensor:
        """The `features` of samples without noise, (N, C, S, S)."""
        noisy = self.alpha_bar**0.5 * clean + (1 - self.alpha_bar) ** 0.5 * self.noise
        predicted, activations = self.predict(noisy, TIMESTEP, self.class_embedding.expand(len(clean), -1))
        error = (predicted - clean).square().mean(dim=(1, 2, 3)).log()[:, None]
        return torch.cat([error, activations], dim=1)

    def predict(self, *inputs: Any, **arguments: Any) -> tuple[Tensor, Tensor]:
        """The network's prediction (N, C, S, S) and the `features` of its activations (N, F - 1), of its arguments."""
        activations: list[Tensor] = []
        blocks = (self.unet.mid_block, self.unet.up_blocks[1], self.unet.up_blocks[2])
        hooks = [block.register_forward_hook(lambda *given: activations.append(given[2])) for block in blocks]
        try:
            predicted = self.unet(*inputs, return_dict=False, **arguments)[0]
        finally:
            for hook in hooks:
                hook.remove()
        parts = [values.flatten(2) for values in activations]
        return predicted, torch.cat([f for part in parts for f in (part.mean(2), part.amax(2), part.std(2))], dim=1)

    @torch.no_grad()
    def all_features(self, images: Tensor) -> Tensor:
        """The `features` of any number of sprites."""
        with self.scoring:
            return torch.cat([self.features(part) for part in images.split(BATCH_SIZE)])

    def verdicts(self, images: Tensor) -> Tensor:
        """Float32 (N, 4) in the order of `VERDICTS`, on the CPU, of processed sprites, uint8 (N, C, S, S)."""
        return self.head(self.all_features(images)).cpu()

    def score(self, images: Tensor, asked: Mapping[str, str] = MappingProxyType({})) -> Tensor:
        """One number for each sprite, float32 (N,), higher for better: the verdicts weighted by `WEIGHTS`.

        Of conditions that were asked for, `MATCH_WEIGHT` times the log probability of those with a probe is added; of
        tags, which have one probability each, the mean.
        """
        features = self.all_features(images)
        scores = self.head(features) @ torch.tensor(WEIGHTS, device=features.device)
        for name, probe in self.probes.items():
            values, given = self.values(name), asked.get(name)
            if name in self.conditioner.sets:
                if tags := [values.index(tag) for tag in (given or "").split() if tag in values]:
                    scores += MATCH_WEIGHT * logsigmoid(probe(features)[:, tags]).mean(dim=1)
            elif given in values:
                scores += MATCH_WEIGHT * probe(features).log_softmax(dim=1)[:, values.index(given)]
        return scores.cpu()

    def same_shape(self, one: Tensor, others: Tensor) -> Tensor:
        """`MATCH_WEIGHT` times the log probability that a sprite and others (N, C, S, S) have one shape, (N,)."""
        if "shape" not in self.probes:
            return torch.zeros(len(others))
        first, second = (self.probes["shape"](self.all_features(some)).softmax(dim=1) for some in (one, others))
        return MATCH_WEIGHT * (first * second).sum(dim=1).log().cpu()

    def values(self, name: str) -> Sequence[str]:
        """What a probe tells apart."""
        return BODIES if name == BODY else self.conditioner.vocabulary[name]

    def fits(self, pipeline: PokemonDDPMPipeline) -> bool:
        """Whether the pipeline's samples are sprites of the shape and, if these are no types, the classes it knows."""
        own, other = self.conditioner, pipeline.conditioner
        is_known = own.has_types or {*other.vocabulary["type"]} <= {*own.vocabulary["type"]}
        return pipeline.sample_shape == self.sample_shape and own.has_types == other.has_types and is_known


@functools.cache
def load_ranker(model: str, device: str = "cpu") -> SpriteRanker:
    """The ranker of one of `RANKING_MODELS`, with a network of its own."""
    return read_ranker(PokemonDDPMPipeline.from_pretrained(model), model).to(device)


def read_ranker(pipeline: PokemonDDPMPipeline, model: str) -> SpriteRanker | None:
    """The ranker with the pipeline's network, if its model's folder has one; raises ValueError for a damaged one."""
    if not (file := Path(model, RANKER_FILE)).is_file():
        return None
    ranker = SpriteRanker(pipeline)
    try:
        ranker.head.load_state_dict(load(read_file(file, file.parent)))
        if file.with_name(PROBES_FILE).is_file():
            file = file.with_name(PROBES_FILE)
            weights = load(read_file(file, file.parent))
            for name in sorted({key.split(".")[0] for key in weights}):
                ranker.probes[name] = nn.Linear(ranker.head.in_features, len(ranker.values(name)))
            ranker.probes.load_state_dict(weights)
        layers = [*ranker.head.parameters(), *ranker.probes.parameters()]
        if not all(values.isfinite().all() for values in layers):
            raise ValueError("it has values that are NaN or infinite")
    except (ValueError, RuntimeError, LookupError, SafetensorError) as error:
        raise ValueError(f"{file} is no ranker of this model: {' '.join(str(error).split())}.") from error
    return ranker.requires_grad_(False)


def ranker_for(pipeline: PokemonDDPMPipeline) -> SpriteRanker | None:
    """The ranker that fits the pipeline's samples, on its device; None if there is none."""
    installed = (model for model in RANKING_MODELS if Path(model, RANKER_FILE).is_file())  # a Space has not all
    rankers = (load_ranker(model, str(pipeline.device)) for model in installed)
    return next((ranker for ranker in rankers if ranker.fits(pipeline)), None)
