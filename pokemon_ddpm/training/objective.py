"""The objective of a run: its choices of prediction, weighting and variance put together."""

from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler
from torch import nn

from pokemon_ddpm.noise_schedule import NoiseSchedule
from pokemon_ddpm.objectives import add_noise, denoising_loss
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.variational_bound import learned_variance_loss, split_prediction


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        schedule: Tables of the noise schedule, on the device.
        prediction_type: "epsilon", "v_prediction" or "sample".
        variance_type: With "learned_range" L_vlb is added, for the variance alone (Nichol & Dhariwal 2021).
        snr_gamma: gamma of Min-SNR (Hang et al. 2023); None for the simple loss (Ho et al. 2020).
    """

    schedule: NoiseSchedule
    prediction_type: str
    variance_type: str
    snr_gamma: float | None

    @classmethod
    def of(cls, scheduler: DDPMScheduler, snr_gamma: float, device: torch.device) -> "Objective":
        """The objective for a scheduler's configuration; an snr_gamma of 0 is the simple loss."""
        config = scheduler.config
        schedule = NoiseSchedule.of(scheduler, device)
        return cls(schedule, config.prediction_type, config.variance_type, snr_gamma or None)

    def losses(self, denoiser: nn.Module, batch: Batch) -> torch.Tensor:
        """The loss of each picture, float32 (B,)."""
        clean, noise, timesteps = batch.clean(), batch.noise, batch.timesteps
        noisy = add_noise(self.schedule, clean, noise, timesteps)
        prediction = denoiser(noisy, timesteps, batch.labels, batch.augmentation)
        mean, learned = split_prediction(prediction, self.variance_type)
        losses = denoising_loss(self.schedule, self.prediction_type, mean, clean, noise, timesteps, self.snr_gamma)
        if learned is None:
            return losses
        return losses + learned_variance_loss(self.schedule, self.prediction_type, prediction, clean, noisy, timesteps)
