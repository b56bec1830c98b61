"""The denoising loss of held-out pictures, measured so that two measurements of the same weights agree."""

import math
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import nn

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.timesteps import sample_timesteps
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.objective import Objective
from pokemon_ddpm.training.randomness import VALIDATION, generator_for

TIMESTEPS_A_PICTURE = 2
CHUNK = 64


class Probe:
    """Pictures of a split with fixed noise and fixed, evenly spread timesteps.

    They are functions of the split alone, so that runs with other seeds can be compared, too. Nothing is forgotten,
    augmented or dropped.

    Args:
        data: The split, on the device, with labels for what the network is conditioned on.
        count: How many of its pictures, chosen once and for all; at most all.
        num_train_timesteps: T.
    """

    def __init__(self, data: SpriteTensors, count: int, num_train_timesteps: int):
        device = data.images.device
        generator = generator_for("cpu", VALIDATION)
        chosen = torch.randperm(len(data), generator=generator)[:count].repeat(TIMESTEPS_A_PICTURE).to(device)
        self.images = data.images[chosen]
        self.labels = {attribute: ids[chosen] for attribute, ids in data.labels.items()}
        self.timesteps = sample_timesteps(len(chosen), num_train_timesteps, generator, stratified=True).to(device)

    def loss(
        self, denoiser: nn.Module, objective: Objective, accelerator: Accelerator, interrupted: Callable[[], bool]
    ) -> float:
        """Mean loss over the pictures, which the processes share out.

        Args:
            denoiser: The weights to measure, in evaluation mode.
            objective: The run's.
            accelerator: Of this process.
            interrupted: Asked between chunks; if any process's says yes, the result is not a number.
        """
        total = torch.zeros((), device=self.images.device)
        starts = range(0, len(self.images), CHUNK)[accelerator.process_index :: accelerator.num_processes]
        for start in starts:
            if interrupted():
                total += math.nan
                break
            part = slice(start, start + CHUNK)
            images = self.images[part]
            noise = torch.randn(images.shape, generator=generator_for("cpu", VALIDATION, start)).to(images.device)
            labels = {attribute: ids[part] for attribute, ids in self.labels.items()}
            with torch.no_grad(), accelerator.autocast():
                total += objective.losses(denoiser, Batch(images, labels, self.timesteps[part], noise)).sum()
        return accelerator.reduce(total, "sum").item() / len(self.images)


def make_probes(train: SpriteTensors, held_out: SpriteTensors | None, num_train_timesteps: int) -> dict[str, Probe]:
    """Probes of all held-out pictures and of as many training pictures, by the name of what they measure.

    Where the second falls and the first does not, the network learns its training pictures by heart.
    """
    if held_out is None:
        return {}
    splits = {"validation_loss": held_out, "train_split_loss": train}
    return {name: Probe(split, len(held_out), num_train_timesteps) for name, split in splits.items()}
