"""The batch of a training step, with everything random in it."""

from dataclasses import dataclass

import torch

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.objectives import sample_timesteps
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.training.conditions import forget
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.randomness import DRAWS, batch_indices, generator_for


@dataclass(frozen=True)
class Batch:
    """Pictures with their draws.

    Attributes:
        images: uint8 (B, 3, S, S).
        labels: int64; what each picture says of itself.
        timesteps: int64 (B,).
        noise: float32 (B, 3, S, S).
    """

    images: torch.Tensor
    labels: dict[str, torch.Tensor]
    timesteps: torch.Tensor
    noise: torch.Tensor

    @property
    def clean(self) -> torch.Tensor:
        """x_0: the pictures as the network sees them, float32 (B, 3, S, S) in [-1, 1]."""
        return self.images.float() / 127.5 - 1

    def rows(self, start: int, count: int) -> "Batch":
        """A part of the batch."""
        part = slice(start, start + count)
        labels = {attribute: ids[part] for attribute, ids in self.labels.items()}
        return Batch(self.images[part], labels, self.timesteps[part], self.noise[part])


def draw_batch(
    data: SpriteTensors, conditioner: SpriteConditioner, config: TrainingConfig, step: int, batch_size: int
) -> Batch:
    """The global batch of a step: a function of the data, the configuration and the step, on one kind of device.

    Args:
        data: The training split, on the device.
        conditioner: Names the attributes that are trained.
        config: The run's.
        step: Number of the step, from 0.
        batch_size: Global batch size G.
    """
    device = data.images.device
    indices = batch_indices(len(data), config.seed, step, batch_size).to(device)
    images = data.images[indices]
    generator = generator_for(device, config.seed, DRAWS, step)
    noise = torch.randn(images.shape, generator=generator, device=generator.device)
    timesteps = sample_timesteps(batch_size, config.ddpm_num_steps, generator, config.timestep_sampling)
    labels = {attribute: data.labels[attribute][indices] for attribute in conditioner.vocabulary}
    labels = forget(labels, conditioner, config.conditioning_dropout_prob, generator)
    if config.random_flip:
        mirrored = torch.rand(batch_size, 1, 1, 1, generator=generator, device=generator.device) < 0.5
        images = torch.where(mirrored.to(device), images.flip(-1), images)
    labels = {attribute: ids.to(device) for attribute, ids in labels.items()}
    return Batch(images, labels, timesteps.to(device), noise.to(device))
