"""The batch of a training step, with everything random in it."""

from dataclasses import dataclass, fields

import torch

from pokemon_ddpm.augmentation import KINDS, augment, draw_augmentation
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.pipelines.sprite_conditioner import SpriteConditioner
from pokemon_ddpm.timesteps import LossSecondMoment, sample_timesteps
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
        weights: float32 (B,), factors on the losses that keep their expectation whatever the timesteps' distribution;
            None for ones.
        noise: float32 (B, 3, S, S).
        augmentation: float32 (B, AUGMENTATION_DIM), what is done to each picture; None for nothing.
    """

    images: torch.Tensor
    labels: dict[str, torch.Tensor]
    timesteps: torch.Tensor
    noise: torch.Tensor
    weights: torch.Tensor | None = None
    augmentation: torch.Tensor | None = None

    def clean(self) -> torch.Tensor:
        """x_0: the pictures as the network sees them, float32 (B, 3, S, S) in [-1, 1], augmented."""
        clean = self.images.float() / 127.5 - 1
        return clean if self.augmentation is None else augment(clean, self.augmentation)

    def rows(self, start: int, count: int) -> "Batch":
        """A part of the batch."""
        part = slice(start, start + count)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        labels = {attribute: ids[part] for attribute, ids in values.pop("labels").items()}
        return Batch(labels=labels, **{name: None if of is None else of[part] for name, of in values.items()})


def draw_batch(
    data: SpriteTensors,
    conditioner: SpriteConditioner,
    config: TrainingConfig,
    step: int,
    batch_size: int,
    history: LossSecondMoment | None = None,
) -> Batch:
    """The global batch of a step: a function of its arguments, on one kind of device.

    Args:
        data: The training split, on the device.
        conditioner: Names the attributes that are trained.
        config: The run's.
        step: Number of the step, from 0.
        batch_size: Global batch size G.
        history: Of the losses, for `--timestep_sampling loss_second_moment`.
    """
    device = data.images.device
    indices = batch_indices(len(data), config.seed, step, batch_size).to(device)
    images = data.images[indices]
    generator = generator_for(device, config.seed, DRAWS, step)
    noise = torch.randn(images.shape, generator=generator, device=generator.device).to(device)
    weights = augmentation = None
    if history is not None:
        timesteps, weights = history.sample(batch_size, generator)
    else:
        stratified = config.timestep_sampling == "stratified"
        timesteps = sample_timesteps(batch_size, config.ddpm_num_steps, generator, stratified).to(device)
    labels = {attribute: data.labels[attribute][indices] for attribute in conditioner.vocabulary}
    labels = forget(labels, conditioner, config.conditioning_dropout_prob, generator)
    labels = {attribute: ids.to(device) for attribute, ids in labels.items()}
    if config.random_flip:
        mirrored = torch.rand(batch_size, 1, 1, 1, generator=generator, device=generator.device) < 0.5
        images = torch.where(mirrored.to(device), images.flip(-1), images)
    probabilities = {kind: getattr(config, f"{kind}_prob") for kind in KINDS}
    if any(probabilities.values()):
        augmentation = draw_augmentation(batch_size, probabilities, config.resolution, generator).to(device)
    return Batch(images, labels, timesteps, noise, weights, augmentation)
