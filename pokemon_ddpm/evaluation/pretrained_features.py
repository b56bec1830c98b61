"""Feature networks of others: Inception v3 and DINOv2, trained on photographs and downloaded at their first use.

The size of 299 or 224 pixels that sprites are enlarged to, and the way, are a part of the metric.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional
from torch_fidelity import feature_extractor_inceptionv3 as library
from transformers import Dinov2Model

DINOV2 = "facebook/dinov2-small"
DINOV2_SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the channels of ImageNet


class PretrainedExtractor(NamedTuple):
    """A `FeatureExtractor`."""

    name: str
    dimension: int
    features: Callable[[torch.Tensor], torch.Tensor]


def inception(device: str | torch.device = "cpu") -> PretrainedExtractor:
    """Inception v3 with the weights and the bilinear resizing of the original FID (Heusel et al. 2017).

    Raises:
        ValueError: If the weights are damaged, or missing and cannot be downloaded.
    """
    url, folder = library.URL_INCEPTION_V3, Path(torch.hub.get_dir()) / "checkpoints"
    try:
        # torch-fidelity unpickles what it downloads. So it is loaded here first, checked and without running any code.
        torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
        network = library.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).to(device)
    except Exception as error:  # unpickling fails in many ways
        remedy = f"download {url} into {folder}; delete it there if it is damaged"
        raise _unavailable("Inception", error, remedy) from error
    return PretrainedExtractor("inception-v3-compat", 2048, lambda images: network(images.to(device))[0])


def dinov2(device: str | torch.device = "cpu") -> PretrainedExtractor:
    """The CLS token of DINOv2 (Oquab et al. 2023), of images that are resized with bicubic antialiasing, not cropped.

    Raises:
        ValueError: If the weights are damaged, or missing and cannot be downloaded.
    """
    try:
        network = Dinov2Model.from_pretrained(DINOV2, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise _unavailable("DINOv2", error, f"run `hf download {DINOV2}` elsewhere and copy the cache") from error
    network = network.eval().to(device)
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))

    def features(images: torch.Tensor) -> torch.Tensor:
        pixels = images.to(device).float() / 255
        pixels = functional.interpolate(pixels, (DINOV2_SIDE,) * 2, mode="bicubic", antialias=True).clamp(0, 1)
        return network(pixel_values=(pixels - mean) / std).pooler_output.float()

    return PretrainedExtractor(Path(DINOV2).name, network.config.hidden_size, features)


def _unavailable(network: str, error: Exception, remedy: str) -> ValueError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return ValueError(
        f"{network} cannot be loaded: {reason}. It is downloaded at the first use; without a connection, {remedy}. "
        "The default network needs no download."
    )
