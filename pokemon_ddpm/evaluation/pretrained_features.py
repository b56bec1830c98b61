"""The networks that the world measures with: Inception v3 and DINOv2, downloaded once by the libraries they come from.

They have seen photographs, and sprites are none: they are here so that figures can be set beside those of others. What
a network does not need comes with the package, see `pokemon_ddpm.evaluation.features`.

How sprites become 299 or 224 pixels wide is a part of the measure. Inception's are enlarged as torch-fidelity does,
bilinearly as TensorFlow 1 did, since this is how the published figures of 32-pixel data sets came about. DINOv2's are
enlarged bicubically with antialiasing, as in its own preprocessing, but to the whole 224 pixels: nothing is cropped.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from transformers import Dinov2Model

DINOV2 = "facebook/dinov2-small"
_DINOV2_SIDE = 224
# The mean and standard deviation of ImageNet's channels, by which DINOv2's pictures are scaled.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WITHOUT = "The default network for sprites needs no download."


class InceptionExtractor:
    """Inception v3 of Heusel et al. 2017 as a `pokemon_ddpm.evaluation.protocols.FeatureExtractor`.

    Args:
        network: torch-fidelity's, asked for "2048".
        device: Where to compute.
    """

    name = "inception-v3-compat"
    dimension = 2048

    def __init__(self, network: "FeatureExtractorInceptionV3", device: str | torch.device = "cpu"):
        self._network, self._device = network.to(device), device

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Features before the last layer, float32 (N, 2048), of pictures, uint8 (N, 3, S, S)."""
        return self._network(images.to(self._device))[0]


class DINOv2Extractor:
    """DINOv2 of Oquab et al. 2023 as a `pokemon_ddpm.evaluation.protocols.FeatureExtractor`.

    Args:
        network: transformers' model.
        name: Of the model.
        device: Where to compute.
    """

    def __init__(self, network: "Dinov2Model", name: str, device: str | torch.device = "cpu"):
        self._network, self._device = network.eval().to(device), device
        self.name, self.dimension = name, network.config.hidden_size

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The CLS token after the last normalisation, float32 (N, D), of pictures, uint8 (N, 3, S, S)."""
        pixels = images.to(self._device).float() / 255
        pixels = functional.interpolate(pixels, (_DINOV2_SIDE,) * 2, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(each, device=self._device).view(3, 1, 1) for each in (_MEAN, _STD))
        return self._network(pixel_values=(pixels - mean) / std).pooler_output.float()


def inception(device: str | torch.device = "cpu") -> InceptionExtractor:
    """Inception v3 by torch-fidelity, with the weights of the original FID.

    Args:
        device: Where to compute.

    Raises:
        ValueError: If the weights are not here and cannot be downloaded, or torch-fidelity is not installed.
    """
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as library
    except ImportError as error:
        raise ValueError(
            f"Inception needs torch-fidelity: pip install 'pokemon-ddpm[evaluation]'. {_WITHOUT}"
        ) from error
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / library.URL_INCEPTION_V3.rsplit("/", 1)[1]
    try:
        # The library unpickles what it downloads. So it is loaded here first, checked and without running any code.
        torch.hub.load_state_dict_from_url(
            library.URL_INCEPTION_V3, map_location="cpu", check_hash=True, weights_only=True
        )
        network = library.FeatureExtractorInceptionV3(InceptionExtractor.name, ["2048"])
    except OSError as error:
        raise ValueError(
            f"The weights of Inception (95 MB) are not here and could not be downloaded: {_reason(error)}. With a "
            "network the first use fetches them; without one, "
            f"put {library.URL_INCEPTION_V3} into {folder}. {_WITHOUT}"
        ) from error
    except Exception as error:  # unpickling fails in many ways
        raise ValueError(
            f"{file} holds no weights of Inception: {_reason(error)}. Delete it to download it anew."
        ) from error
    return InceptionExtractor(network, device)


def dinov2(name_or_path: str = DINOV2, device: str | torch.device = "cpu") -> DINOv2Extractor:
    """DINOv2 by transformers, from safetensors.

    Args:
        name_or_path: A DINOv2 on the Hub, or its folder.
        device: Where to compute.

    Raises:
        ValueError: If it is not here and cannot be downloaded, or is no DINOv2.
    """
    from huggingface_hub import constants
    from transformers import AutoConfig, Dinov2Model

    try:
        config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False)
        if config.model_type != "dinov2":
            raise ValueError(f"{name_or_path} is no DINOv2 but a {config.model_type}.")
        network = Dinov2Model.from_pretrained(name_or_path, config=config, use_safetensors=True, dtype=torch.float32)
    except OSError as error:
        if Path(name_or_path).is_dir():
            raise ValueError(f"{name_or_path} holds no DINOv2 in safetensors: {_reason(error)}.") from error
        raise ValueError(
            f"{name_or_path} is not here and could not be downloaded.{_offline_hint()} With a network the first use "
            f"fetches it; without one, run `hf download {name_or_path}` elsewhere and copy that cache to "
            f"{constants.HF_HUB_CACHE}, or give the model's folder. {_WITHOUT}"
        ) from error
    return DINOv2Extractor(network, Path(name_or_path).name, device)


def _offline_hint() -> str:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "0") not in ("", "0"):
            return f" {name} is set, which forbids downloads."
    return ""


def _reason(error: Exception) -> str:
    """The first line of what a library said."""
    lines = str(getattr(error, "reason", None) or error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
