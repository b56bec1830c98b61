"""The network that computes features of sprites, for distances between sets, and recognizes their attributes.

`SpriteFeatures` is a RegNet (Radosavovic et al. 2020) of transformers. Its stem halves the resolution only once; that
of a ResNet would leave 8x8 of 32x32. Above 32 px its first stage does so once more. One network comes with the
package; `benchmarks/fit_features.py` trains others.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import RegNetConfig, RegNetModel

from pokemon_ddpm.models import MAX_LAYERS, RELEASED, weights_digest
from pokemon_ddpm.pipelines.file_checks import printable
from pokemon_ddpm.vocabulary import Vocabulary

RELEASED_FEATURES = RELEASED / "sprite-features"
WEIGHTS_FILE, ARGUMENTS = "model.safetensors", ("backbone", "vocabulary", "dimension", "resolution")  # in config.json
RESOLUTION = 32  # of networks without one in their file; above it the first stage halves the resolution
BATCH_SIZE = 64
Outputs = tuple[torch.Tensor, dict[str, torch.Tensor]]  # features, and attribute -> logits


class SpriteFeatures(nn.Module):
    """Features of sprites, and a linear head for each attribute.

    Args:
        backbone: Arguments of `RegNetConfig`.
        vocabulary: Attribute -> its K values.
        dimension: D, of the features.
        resolution: Side of the training images in pixels.
    """

    def __init__(
        self, backbone: dict[str, Any], vocabulary: Vocabulary, dimension: int = 64, resolution: int = RESOLUTION
    ):
        super().__init__()
        self.vocabulary = {name: tuple(values) for name, values in vocabulary.items()}
        self.dimension, self.resolution = dimension, resolution
        self.backbone = RegNetModel(RegNetConfig(**backbone))
        self.projection = nn.Linear(self.backbone.config.hidden_sizes[-1], dimension)
        # A module cannot have the name "type", because this is a method of modules.
        heads = {f"{name}_head": nn.Linear(dimension, len(values)) for name, values in self.vocabulary.items()}
        self.heads = nn.ModuleDict(heads)
        # Of the features of the training images, because KID depends on the scale of the features.
        self.register_buffer("feature_mean", torch.zeros(dimension))
        self.register_buffer("feature_std", torch.ones(dimension))

    @property
    def name(self) -> str:
        """Tells networks apart, because values of different networks are not comparable."""
        return f"sprite-features {weights_digest(self)[:8]}"

    def raw(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features (N, D) before standardization, which are the input of the heads, from the output of `to_pixels`."""
        return self.projection(self.backbone(pixels).pooler_output.flatten(1))

    def classify(self, raw: torch.Tensor) -> dict[str, torch.Tensor]:
        """Attribute -> logits (N, K), multi-label for "type" and multi-class for others, from the output of `raw`."""
        return {name: self.heads[f"{name}_head"](raw) for name in self.vocabulary}

    def forward(self, images: torch.Tensor) -> Outputs:
        """Of images, uint8 (N, 3, S, S): features, mean 0 and standard deviation 1 in training, and logits."""
        raw = self.raw(self.to_pixels(images))
        return (raw - self.feature_mean) / self.feature_std, self.classify(raw)

    def to_pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Images, uint8 (N, 3, S, S) in RGB on white, as input of the network: float in [-1, 1] on its device.

        Larger images are reduced by the mean over areas, smaller ones enlarged if their pixels become whole squares;
        others give a ValueError. Compare only sets of one resolution.
        """
        side, resolution = images.shape[-1], self.resolution
        if side < resolution and resolution % side:
            needed = f"from {resolution} px, or smaller by a whole factor"
            raise ValueError(f"The feature network needs images {needed}, but these have {side} px.")
        pixels = images.to(self.feature_mean.device).float() / 127.5 - 1
        mode = "area" if side > resolution else "nearest"
        return pixels if side == resolution else functional.interpolate(pixels, resolution, mode=mode)


def load_features(folder: str | Path = RELEASED_FEATURES, device: str | torch.device = "cpu") -> SpriteFeatures:
    """Loads the network of a folder, in float32; raises ValueError if there is none that can be used."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_bytes())
        config = {name: config[name] for name in ARGUMENTS if name in config}
        if sum(max(1, depth) for depth in config["backbone"]["depths"]) > MAX_LAYERS:
            raise ValueError(f"it has more than {MAX_LAYERS} layers.")
        weights = load_file(folder / WEIGHTS_FILE)
        with torch.device("meta"):  # There, a network that is larger than the weights needs no memory.
            SpriteFeatures(**config).load_state_dict({name: values.to("meta") for name, values in weights.items()})
        network = SpriteFeatures(**config)
        network.load_state_dict(weights)
        if not all(values.isfinite().all() for values in network.state_dict().values()):
            raise ValueError("some of its weights are NaN or infinite.")
    except Exception as error:  # json, torch and safetensors raise many kinds for damaged files
        reason = printable(" ".join(str(error).split()))[:300]
        raise ValueError(f"{folder} contains no usable feature network: {reason}") from error
    return network.eval().requires_grad_(False).to(device)


def extract_features(network: SpriteFeatures, images: torch.Tensor) -> torch.Tensor:
    """Features, float32 (N, D), of any number of images, uint8 (N, 3, S, S); each depends on its image alone."""
    return torch.cat([features.float().cpu() for features, _ in _in_batches(network, images)])[: len(images)]


def all_logits(network: SpriteFeatures, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits, attribute -> float32 (N, K), of any number of images, uint8 (N, 3, S, S)."""
    parts = [logits for _, logits in _in_batches(network, images)]
    return {name: torch.cat([part[name].cpu() for part in parts])[: len(images)] for name in network.vocabulary}


def predict(network: SpriteFeatures, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The values that are recognized in images, uint8 (N, 3, S, S): attribute -> bool (N, K)."""
    return {name: recognized(name, logits) for name, logits in all_logits(network, images).items()}


def recognized(attribute: str, logits: torch.Tensor) -> torch.Tensor:
    """The likeliest value, and for "type" also every type with a probability above 1/2: bool (N, K)."""
    likeliest = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).bool()
    return likeliest | (logits > 0) if attribute == "type" else likeliest


@torch.no_grad()
def _in_batches(network: SpriteFeatures, images: torch.Tensor) -> Iterator[Outputs]:
    """Outputs for batches of one size, on which their last bits depend: the last batch is filled up."""
    for batch in images.split(BATCH_SIZE):
        yield network(batch.repeat(-(-BATCH_SIZE // len(batch)), 1, 1, 1)[:BATCH_SIZE])
