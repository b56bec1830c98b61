"""Classifier-free guidance: further away from what another condition, or none, would give."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Guidance:
    """How the predictions with and without the condition are put together.

    Attributes:
        scales: s of each image. 1 is the conditional model itself.
        interval: Noise levels (low, high) between which there is guidance, low < sigma <= high, where sigma is the
            noise's share over the signal's, sqrt(1 - alpha_bar) / sqrt(alpha_bar) (Kynkäänniemi et al. 2024, equation
            5); elsewhere the conditional model alone is asked, at half the cost.
        rescale: phi of Lin et al. 2023, equation 16: how much of the contrast that guidance adds is taken back.
    """

    scales: tuple[float, ...]
    interval: tuple[float, float] = (0.0, math.inf)
    rescale: float = 0.0

    @property
    def is_trivial(self) -> bool:
        """Whether the conditional model alone is asked at all noise levels."""
        return all(scale == 1 for scale in self.scales)

    def applies(self, sigma: float) -> bool:
        """Whether there is guidance at a noise level."""
        low, high = self.interval
        return not self.is_trivial and low < sigma <= high

    def combine(self, unconditional: torch.Tensor, conditional: torch.Tensor, channels: int) -> torch.Tensor:
        """uncond + s * (cond - uncond), equation 6 of Ho & Salimans 2022, whose w is s - 1, and rescaled.

        Args:
            unconditional: (N, C, S, S), with a learned variance (N, 2C, S, S).
            conditional: The same for the condition.
            channels: C. What follows them is the variance, which is the conditional one's: guidance is of the mean.
        """
        told = conditional[:, :channels]
        scale = told.new_tensor(self.scales).view(-1, 1, 1, 1)
        mean = torch.lerp(unconditional[:, :channels], told, scale)  # exactly the conditional one where s is 1
        if self.rescale:
            contrast = told.std(dim=(1, 2, 3), keepdim=True) / mean.std(dim=(1, 2, 3), keepdim=True)
            mean = torch.lerp(mean, mean * contrast, self.rescale)
        return torch.cat([mean, conditional[:, channels:]], dim=1)
