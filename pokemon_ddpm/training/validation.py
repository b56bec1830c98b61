"""What a run measures of its averaged weights: the denoising loss, and how many samples are near training images.

Images, noise and timesteps are the same at each measurement and in each run, so results can be compared.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import sample_timesteps
from pokemon_ddpm.evaluation.memorization import nearest_by_pixels
from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.preprocessing import on_white, over_white
from pokemon_ddpm.training.batches import VALIDATION, Batch, generator_for

TIMESTEPS_PER_IMAGE = 2
CHUNK = 64
NUM_COPY_SAMPLES, NEAR = 32, 0.5


class LossProbe:
    """The denoising loss of `count` fixed images with fixed noise and evenly spread timesteps, without any dropout."""

    def __init__(self, data: SpriteTensors, count: int, num_train_timesteps: int):
        device = data.images.device
        generator = generator_for("cpu", VALIDATION)
        chosen = torch.randperm(len(data), generator=generator)[:count].repeat(TIMESTEPS_PER_IMAGE).to(device)
        self.data = data.rows(chosen)
        self.timesteps = sample_timesteps(len(self.data), num_train_timesteps, generator, stratified=True).to(device)

    def measure(
        self, losses: Callable[[nn.Module, Batch], torch.Tensor], denoiser: nn.Module, accelerator: Accelerator
    ) -> float:
        """Mean of the `losses` (B,) of all images, which the processes divide among them."""
        device = self.timesteps.device
        total = torch.zeros((), device=device)
        for start in range(0, len(self.data), CHUNK)[accelerator.process_index :: accelerator.num_processes]:
            rows = slice(start, start + CHUNK)
            part = self.data.rows(rows)
            noise = torch.randn(part.images.shape, generator=generator_for("cpu", VALIDATION, start)).to(device)
            batch = Batch(part.images, part.labels, self.timesteps[rows], noise)
            with torch.no_grad(), accelerator.autocast():
                total += losses(denoiser, batch).sum()
        return accelerator.reduce(total, "sum").item() / len(self.data)


def loss_probes(train: SpriteTensors, held_out: SpriteTensors, num_train_timesteps: int) -> dict[str, LossProbe]:
    """Probes of all held-out images and of as many training images, by the name of the metric.

    Where the training loss falls and the validation loss does not, the network memorizes its training images.
    """
    splits = {"validation_loss": held_out, "train_split_loss": train}
    return {name: LossProbe(split, len(held_out), num_train_timesteps) for name, split in splits.items()}


def overfitting(
    pipeline: PokemonDDPMPipeline, train: SpriteTensors, held_out: SpriteTensors, metrics: Mapping[str, float]
) -> str:
    """The losses of `metrics`, and how many of `NUM_COPY_SAMPLES` samples are near a training image, in one line."""
    types = pipeline.conditioner.vocabulary["type"]
    requests = [SpriteRequest(seed, types[seed % len(types)]) for seed in range(NUM_COPY_SAMPLES)]
    pipeline.set_progress_bar_config(disable=True)
    samples = torch.from_numpy(np.stack(list(map(on_white, generate(pipeline, requests))))).permute(0, 3, 1, 2)
    images, held_out = over_white(train.images), over_white(held_out.images.cpu())
    usual = nearest_by_pixels(held_out, images).distance.median().item()
    near = int((nearest_by_pixels(samples, images).distance <= NEAR * usual).sum())
    return (
        f"Validation loss {metrics['validation_loss']:.4f}, of training images {metrics['train_split_loss']:.4f}. Of "
        f"{len(samples)} samples {near} are near a training image: at most half as far from it as held-out images "
        "usually are."
    )
