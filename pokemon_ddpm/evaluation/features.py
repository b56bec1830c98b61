"""A small network that looks at sprites: features for distances between sets of them, and words for what they show.

It is a RegNet (Radosavovic et al. 2020) of transformers, whose stem halves the side once only; that of a ResNet would
leave 8x8 of 32x32 before the first block. One comes with the package and is made by `pokemon-ddpm fit-features`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel, RegNetConfig, RegNetModel
from transformers.utils import logging

from pokemon_ddpm.released_models import RELEASED

RELEASED_FEATURES = RELEASED / "sprite-features"
"""Folder of the network that comes with the package."""

DIMENSION = 64
RESOLUTION = 32
BACKBONE: dict[str, Any] = {
    "embedding_size": 32,
    "hidden_sizes": [64, 128, 256],
    "depths": [1, 2, 2],
    "groups_width": 64,
    "layer_type": "y",
    "downsample_in_first_stage": False,
}


class SpriteFeaturesConfig(PreTrainedConfig):
    """What `SpriteFeatures` is built from.

    Attributes:
        backbone: Arguments of `RegNetConfig`.
        words: Attribute -> its words; "type" is multi-label.
        dimension: D, of the features.
        resolution: Side in pixels of the pictures that the network was trained on.
    """

    model_type = "sprite_features"

    backbone: dict | None = None
    words: dict | None = None
    dimension: int = DIMENSION
    resolution: int = RESOLUTION


class SpriteFeatures(PreTrainedModel):
    """Features of sprites, and a linear head for each attribute.

    Args:
        config: See there.
    """

    config_class = SpriteFeaturesConfig
    base_model_prefix = "sprite_features"
    main_input_name = "pixel_values"

    def __init__(self, config: SpriteFeaturesConfig):
        super().__init__(config)
        self.backbone = RegNetModel(RegNetConfig(**(config.backbone or BACKBONE)))
        self.projection = nn.Linear(self.backbone.config.hidden_sizes[-1], config.dimension)
        # A module cannot be called "type", which is a method of theirs.
        heads = {f"{name}_head": nn.Linear(config.dimension, len(words)) for name, words in self.words.items()}
        self.heads = nn.ModuleDict(heads)
        # Of the features of the training pictures. KID's kernel is not free of scale.
        self.register_buffer("feature_mean", torch.zeros(config.dimension))
        self.register_buffer("feature_std", torch.ones(config.dimension))
        self.post_init()

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        """Attribute -> its words."""
        return {name: tuple(words) for name, words in (self.config.words or {}).items()}

    def _init_weights(self, module: nn.Module) -> None:
        """The modules' own initial weights; those of the backbone are its own affair."""

    def raw(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Features as the heads read them, not standardised.

        Args:
            pixel_values: Float (N, 3, S, S) in [-1, 1], RGB on white.

        Returns:
            (N, D).
        """
        return self.projection(self.backbone(pixel_values).pooler_output.flatten(1))

    def logits(self, raw: torch.Tensor) -> dict[str, torch.Tensor]:
        """Attribute -> (N, K), of features as `raw` returns them."""
        return {name: self.heads[f"{name}_head"](raw) for name in self.words}

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Features, (N, D), of mean 0 and standard deviation 1 over the training pictures; arguments of `raw`."""
        return (self.raw(pixel_values) - self.feature_mean) / self.feature_std

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the weights as they are."""
        total = hashlib.sha256()
        for name, values in sorted(self.state_dict().items()):
            total.update(name.encode() + values.cpu().contiguous().numpy().tobytes())
        return total.hexdigest()


class SpriteFeatureExtractor:
    """The features as a `pokemon_ddpm.evaluation.protocols.FeatureExtractor`.

    Args:
        network: Any `SpriteFeatures`, by default the one that comes with the package.
    """

    def __init__(self, network: SpriteFeatures | None = None):
        self._network = load_features() if network is None else network.eval()
        self.name = _name(self._network)
        self.dimension = self._network.config.dimension

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Features, float32 (N, D), of pictures, uint8 (N, 3, S, S); see `to_pixels`."""
        return self._network(_pixels_for(self._network, images))


class SpriteClassifier:
    """The heads as a `pokemon_ddpm.evaluation.protocols.AttributeClassifier`.

    Args:
        network: As of `SpriteFeatureExtractor`.
    """

    def __init__(self, network: SpriteFeatures | None = None):
        self._network = load_features() if network is None else network.eval()
        self.name = _name(self._network)
        self.words: Mapping[str, tuple[str, ...]] = self._network.words

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Attribute -> logits, float32 (N, K), of pictures, uint8 (N, 3, S, S); see `to_pixels`."""
        return self._network.logits(self._network.raw(_pixels_for(self._network, images)))


def load_features(folder: str | Path = RELEASED_FEATURES, device: str | torch.device = "cpu") -> SpriteFeatures:
    """Loads a network that `fit-features` has made, in float32 and ready for use.

    Args:
        folder: Where it is; nothing is downloaded.
        device: Where to.

    Raises:
        ValueError: If the folder holds no such network, or a broken one.
    """
    folder = Path(folder)
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} holds no network for sprites: there is no {missing[0]}.")
    try:
        config = SpriteFeaturesConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type != SpriteFeaturesConfig.model_type or not config.words:
            raise ValueError("its config.json is of another model")
        with quiet_bars():
            network, report = SpriteFeatures.from_pretrained(
                folder, config=config, dtype=torch.float32, use_safetensors=True, local_files_only=True,
                output_loading_info=True,
            )  # fmt: skip
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder} holds no network for sprites that can be used: {error}.") from error
    if report["missing_keys"]:
        raise ValueError(f"{folder} holds a network for sprites that lacks {min(report['missing_keys'])}.")
    return network.eval().requires_grad_(False).to(device)


@contextmanager
def quiet_bars() -> Iterator[None]:
    """Without transformers' progress bars, which would show the reading of a megabyte."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def to_pixels(images: torch.Tensor, resolution: int) -> torch.Tensor:
    """Pictures as the network takes them.

    Larger ones are reduced to its resolution by the mean over areas. A sprite so reduced is a little softer than one
    that was preprocessed to 32 pixels, and has other margins: compare sets of one resolution.

    Args:
        images: uint8 (N, 3, S, S), RGB on white.
        resolution: The network's.

    Returns:
        float32 (N, 3, resolution, resolution) in [-1, 1].

    Raises:
        ValueError: If it is no such tensor, or the pictures are too small.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"Pictures must be uint8 (N, 3, S, S), but are {images.dtype} {tuple(images.shape)}.")
    side = images.shape[-1]
    if side < resolution:
        raise ValueError(f"The network for sprites takes pictures from {resolution} pixels on, but these have {side}.")
    pixels = images.float() / 127.5 - 1
    return pixels if side == resolution else functional.interpolate(pixels, resolution, mode="area")


def _pixels_for(network: SpriteFeatures, images: torch.Tensor) -> torch.Tensor:
    return to_pixels(images.to(network.device), network.config.resolution)


def _name(network: SpriteFeatures) -> str:
    # Networks fitted anew are others, and their figures do not compare.
    return f"sprite-features {network.digest()[:8]}"
