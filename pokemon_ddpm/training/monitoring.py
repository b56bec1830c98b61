"""The log of a run, and the losses of its averaged weights."""

import contextlib
import time
from collections.abc import Callable, Iterator

import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import sample_timesteps
from pokemon_ddpm.training.batches import VALIDATION, Batch, generator_for

TIMESTEPS_PER_IMAGE = 2
CHUNK = 64


class Meter:
    """Means over a log interval, summed on the device and read once an interval."""

    def __init__(self, accelerator: Accelerator):
        self._accelerator, self._device = accelerator, accelerator.device
        self._reset()

    def _reset(self) -> None:
        self._sums = torch.zeros(3, device=self._device)
        self._images, self._since = 0, time.perf_counter()

    def add(self, loss: torch.Tensor, grad_norm: torch.Tensor, images: int) -> None:
        """Adds an update: its loss and gradient norm, scalars on the device, and its images over all processes.

        Updates that are not finite count for the speed only.
        """
        values = torch.stack([loss, grad_norm, torch.ones_like(loss)])
        self._sums += torch.where(values.isfinite().all(), values, 0.0)
        self._images += images

    def read(self) -> dict[str, float]:
        """Loss, grad_norm and images_per_second of the interval; starts the next one."""
        sums = self._accelerator.reduce(self._sums, "mean")
        loss, grad_norm = (sums[:2] / sums[2]).tolist()  # NaN without an update
        speed = self._images / (time.perf_counter() - self._since)
        self._reset()
        return {"loss": loss, "grad_norm": grad_norm, "images_per_second": speed}


@contextlib.contextmanager
def warn_only() -> Iterator[None]:
    """Turns an error that a run survives into a warning."""
    try:
        yield
    except Exception as error:  # trackers have their own
        tqdm.write(f"warning: {str(error).rstrip('.') or type(error).__name__}. The run continues.")


class LossProbe:
    """The denoising loss of `count` fixed images with fixed noise and evenly spread timesteps, without any dropout.

    They are the same at each measurement and in each run, so results can be compared.
    """

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
            labels = {name: part.labels[name] for name in denoiser.conditioner.any_ids if name in part.labels}
            batch = Batch(part.images, labels, self.timesteps[rows], noise)
            with torch.no_grad(), accelerator.autocast():
                total += losses(denoiser, batch).sum()
        return accelerator.reduce(total, "sum").item() / len(self.data)
