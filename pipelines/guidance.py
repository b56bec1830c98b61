"""Classifier-free guidance, by the conditions and by a reference sprite, and the clean sample that is predicted.

A saved model carries a copy of this file.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .file_checks import check_number, is_number

MAX_SCALE = 1000


@dataclass(frozen=True)
class Guidance:
    """The guidance of one call.

    Attributes:
        scales: Guidance scale s of each image; 1 is the conditional model.
        image_scales: That by the reference sprite (s_I of Brooks et al. 2023, equation 3).
        interval: Noise levels (low, high): guidance applies where low < sigma <= high, with sigma =
            sqrt(1 - alpha_bar) / sqrt(alpha_bar), for images in [-1, 1] (Kynkäänniemi et al. 2024, equation 5).
        rescale: phi of Lin et al. 2023, equation 16.

    Raises:
        ValueError: If a value is out of its range.
    """

    scales: Sequence[float]
    image_scales: Sequence[float] = (1.0,)
    interval: tuple[float, float] = (0.0, math.inf)
    rescale: float = 0.0

    def __post_init__(self):
        for name, scales in {"guidance_scale": self.scales, "image_guidance_scale": self.image_scales}.items():
            for scale in scales:
                check_number(name, scale, -MAX_SCALE, MAX_SCALE)
        is_pair = np.shape(self.interval) == (2,) and all(is_number(each, 0) for each in self.interval)
        if not (is_pair and self.interval[0] < self.interval[1]):
            raise ValueError(f"guidance_interval must be (low, high) with 0 <= low < high, not {self.interval!r}.")
        check_number("guidance_rescale", self.rescale, 0, 1)

    def with_scales(self, scales: Sequence[float], low: float = -MAX_SCALE) -> "Guidance":
        """The same with other scales, of at least `low`."""
        checked = replace(self, scales=scales)
        return replace(checked, scales=[max(low, float(scale)) for scale in checked.scales])

    def passes(self, sigma: float, has_reference: bool) -> int:
        """How many predictions are needed at a noise level: the conditional one; that without conditions; and, with a
        reference, that without it.
        """
        low, high = self.interval
        if not low < sigma <= high:
            return 1
        if has_reference and any(scale != 1 for scale in self.image_scales):
            return 3
        return 2 if any(scale != 1 for scale in self.scales) else 1

    def guided(self, predictions: Sequence[Tensor]) -> Tensor:
        """`guided_prediction` with the scales of each image, then rescaled, (N, C, S, S)."""
        cond, both = predictions[-1], (self.scales, self.image_scales)
        scales = (cond.new_tensor(tuple(map(float, each))).view(-1, 1, 1, 1) for each in both)
        guided = guided_prediction(predictions, *scales)
        if not self.rescale:
            return guided
        contrast = cond.std(dim=(1, 2, 3), keepdim=True) / guided.std(dim=(1, 2, 3), keepdim=True)
        return torch.lerp(guided, guided * contrast, self.rescale)


def guided_prediction(predictions: Sequence[Tensor], scale: Tensor | float, image_scale: Tensor | float = 1) -> Tensor:
    """The guided prediction (N, C, S, S).

    Without a reference it is uncond + s * (cond - uncond), equation 6 of Ho & Salimans 2022 with s = w + 1; with one,
    uncond + s_I * (image - uncond) + s * (cond - image), equation 3 of Brooks et al. 2023.

    Args:
        predictions: uncond, image (knowing the reference and `REFERENCE_CONDITIONS`) and cond, where s_I is 1 without
            uncond; without a reference uncond and cond; without guidance cond.
        scale, image_scale: s and s_I, numbers or (N, 1, 1, 1).
    """
    *others, cond = predictions
    if not others:
        return cond
    guided = torch.lerp(others[-1], cond, scale)  # cond, bit for bit, where the scale is 1
    return guided if len(others) == 1 else guided + (image_scale - 1) * (others[1] - others[0])


def predicted_original_sample(
    prediction_type: str, prediction: Tensor, sample: Tensor, alpha: Tensor | float, sigma: Tensor | float
) -> Tensor:
    """x_0 (N, C, S, S) from the network's output at `sample`, x_t = alpha x_0 + sigma epsilon, not clipped.

    The prediction type is "epsilon" (Ho et al. 2020), "v_prediction" (Salimans & Ho 2022, appendix D) or "sample";
    alpha and sigma are numbers or (N, 1, 1, 1).
    """
    if prediction_type == "sample":
        return prediction
    if prediction_type == "v_prediction":
        return alpha * sample - sigma * prediction
    return (sample - sigma * prediction) / alpha
