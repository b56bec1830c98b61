"""The network that computes features of sprites, for distances between sets, and recognizes their attributes.

`SpriteFeatures` is a RegNet (Radosavovic et al. 2020) of transformers. Its stem halves the resolution only once; that
of a ResNet would leave 8x8 of 32x32. Above 32 px its first stage does so once more. One network comes with the
package; `pokemon-ddpm fit-features` trains others.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel, RegNetConfig, RegNetModel

from pokemon_ddpm.evaluation.images import RealImages, check_classes
from pokemon_ddpm.generation import best_device
from pokemon_ddpm.models import RELEASED, weights_digest

RELEASED_FEATURES = RELEASED / "sprite-features"
WEIGHTS_FILE = "model.safetensors"
RESOLUTION = 32  # of networks without one in their file; above it the first stage halves the resolution
BACKBONE = {
    "embedding_size": 32,
    "hidden_sizes": [64, 128, 256],
    "depths": [1, 2, 2],
    "groups_width": 64,
    "layer_type": "y",
    "downsample_in_first_stage": False,
}
BATCH_SIZE = 64


class SpriteFeaturesConfig(PreTrainedConfig):
    """What `SpriteFeatures` is built from."""

    model_type = "sprite_features"

    backbone: dict | None = None  # arguments of `RegNetConfig`
    vocabulary: dict | None = None  # attribute -> its values
    dimension: int = 64  # D, of the features
    resolution: int = RESOLUTION  # of the training images


class SpriteFeatures(PreTrainedModel):
    """Features of sprites, and a linear head for each attribute; `vocabulary` has the K values of each."""

    config_class = SpriteFeaturesConfig
    main_input_name = "pixel_values"

    def __init__(self, config: SpriteFeaturesConfig):
        super().__init__(config)
        self.dimension = config.dimension
        self.backbone = RegNetModel(RegNetConfig(**config.backbone))
        self.projection = nn.Linear(self.backbone.config.hidden_sizes[-1], config.dimension)
        self.vocabulary = {name: tuple(values) for name, values in config.vocabulary.items()}
        # A module cannot have the name "type", because this is a method of modules.
        heads = {f"{name}_head": nn.Linear(config.dimension, len(values)) for name, values in self.vocabulary.items()}
        self.heads = nn.ModuleDict(heads)
        # Of the features of the training images, because KID depends on the scale of the features.
        self.register_buffer("feature_mean", torch.zeros(config.dimension))
        self.register_buffer("feature_std", torch.ones(config.dimension))
        self.post_init()

    @property
    def name(self) -> str:
        """Tells networks apart, because values of different networks are not comparable."""
        return f"sprite-features {weights_digest(self)[:8]}"

    def _init_weights(self, module: nn.Module) -> None:
        """Keeps the initial weights of the modules."""

    def raw(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Features (N, D) before standardization, which are the input of the heads."""
        return self.projection(self.backbone(pixel_values).pooler_output.flatten(1))

    def classify(self, raw: torch.Tensor) -> dict[str, torch.Tensor]:
        """Attribute -> logits (N, K), from the output of `raw`."""
        return {name: self.heads[f"{name}_head"](raw) for name in self.vocabulary}

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Features (N, D), with mean 0 and standard deviation 1 over the training images."""
        return (self.raw(pixel_values) - self.feature_mean) / self.feature_std

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Images, uint8 (N, 3, S, S) -> float32 (N, D); see `to_pixels`."""
        return self(self.to_pixels(images))

    def logits(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Attribute -> (N, K), multi-label for "type" and multi-class for others; see `to_pixels`."""
        return self.classify(self.raw(self.to_pixels(images)))

    def to_pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Images, uint8 (N, 3, S, S) in RGB on white, as input of the network: float in [-1, 1] on its device.

        Larger images are reduced by the mean over areas, smaller ones enlarged if their pixels become whole squares.
        A sprite changed in this way is unlike one that was preprocessed to the resolution of the network, so compare
        only sets of one resolution.

        Raises:
            ValueError: If the images are smaller, and not by a whole factor.
        """
        side, resolution = images.shape[-1], self.config.resolution
        if side < resolution and resolution % side:
            raise ValueError(
                f"The network for sprites needs images from {resolution} px, or smaller by a whole factor, but these "
                f"have {side} px."
            )
        pixels = images.to(self.device).float() / 127.5 - 1
        mode = "area" if side > resolution else "nearest"
        return pixels if side == resolution else functional.interpolate(pixels, resolution, mode=mode)


def load_features(folder: str | Path = RELEASED_FEATURES, device: str | torch.device = "cpu") -> SpriteFeatures:
    """Loads a network that `fit-features` wrote, in float32.

    Raises:
        ValueError: If the folder has no such network, or its weights are damaged or not finite.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a folder of a network for sprites: it has no config.json.")
    try:
        network = SpriteFeatures(SpriteFeaturesConfig.from_pretrained(folder, local_files_only=True))
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))
        if not all(values.isfinite().all() for values in network.state_dict().values()):
            raise ValueError("some of its weights are NaN or infinite.")
    except Exception as error:  # transformers and safetensors raise many kinds for damaged files
        raise ValueError(f"{folder} has no usable network for sprites: {' '.join(str(error).split())}") from error
    return network.eval().requires_grad_(False).to(device)


def load_network(folder: Path | None, data: RealImages, data_dir: str | None = None) -> SpriteFeatures:
    """Loads the released network or another one; raises ValueError if it does not fit the images."""
    network = load_features(folder or RELEASED_FEATURES, best_device())
    try:
        check_classes(network.name, network.vocabulary["type"], data.train.type_names)
        network.to_pixels(data.held_out.images[:1, :3])  # to fail before the evaluation if the images are too small
    except ValueError as error:
        side, mode = data.train.images.shape[-1], "pixel" if data.train.images.shape[1] == 4 else "fit"
        raise ValueError(
            f"{error} For these images, make one with pokemon-ddpm fit-features --data-dir {data_dir or 'FOLDER'} "
            f"--resolution {side} --preprocessing {mode} --output-dir features, and give --features features."
        ) from error
    return network


def extract_features(network: SpriteFeatures, images: torch.Tensor) -> torch.Tensor:
    """Features, float32 (N, D), of any number of images, uint8 (N, 3, S, S); each depends on its image alone."""
    return torch.cat([part.float().cpu() for part in _in_batches(network.features, images)])[: len(images)]


def all_logits(classifier: SpriteFeatures, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits, attribute -> float32 (N, K), of any number of images, uint8 (N, 3, S, S)."""
    parts = list(_in_batches(classifier.logits, images))
    return {name: torch.cat([part[name].cpu() for part in parts])[: len(images)] for name in classifier.vocabulary}


def predict(classifier: SpriteFeatures, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The values that are recognized in images, uint8 (N, 3, S, S): attribute -> bool (N, K)."""
    return {name: recognized(name, logits) for name, logits in all_logits(classifier, images).items()}


def recognized(attribute: str, logits: torch.Tensor) -> torch.Tensor:
    """The likeliest value, and for "type" also every type with a probability above 1/2: bool (N, K)."""
    likeliest = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).bool()
    return likeliest | (logits > 0) if attribute == "type" else likeliest


@torch.no_grad()
def _in_batches(network: Callable[[torch.Tensor], Any], images: torch.Tensor) -> Iterator[Any]:
    """Outputs of a network for batches of one size, on which their last bits depend: the last batch is filled up."""
    for batch in images.split(BATCH_SIZE):
        yield network(batch.repeat(-(-BATCH_SIZE // len(batch)), 1, 1, 1)[:BATCH_SIZE])
