"""What watches over a run: its log, requests to stop, and what is measured of its averaged weights."""

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.diffusion import sample_timesteps
from pokemon_ddpm.evaluation.memorization import nearest_by_pixels
from pokemon_ddpm.generation import SpriteRequest, generate
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.preprocessing import as_tensor, on_white, over_white
from pokemon_ddpm.training.batches import VALIDATION, Batch, generator_for

TIMESTEPS_PER_IMAGE = 2
CHUNK = 64
NUM_COPY_SAMPLES, NEAR = 32, 0.5


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


def log_line(step: int, values: Mapping[str, float]) -> str:
    """What was measured at a step, in a line: "step 20  images_seen 640  loss 0.1234"."""
    numbers = (f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for value in values.values())
    return "  ".join([f"step {step:,}", *map(" ".join, zip(values, numbers, strict=True))])


@contextlib.contextmanager
def warn_only(consequence: str = "The run continues.") -> Iterator[None]:
    """Turns an error that a run survives into a warning."""
    try:
        yield
    except Exception as error:  # trackers have their own
        tqdm.write(f"warning: {str(error).rstrip('.') or type(error).__name__}. {consequence}")


class StopRequest:
    """Notes that the run should stop: a signal, the time limit, or the end of the launcher."""

    def __init__(self, max_seconds: float | None):
        self.reason: str | None = None  # why to stop
        # If its launcher is killed, nobody else would end a training process.
        launched = {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"} & os.environ.keys()
        self._launcher = os.getppid() if launched else None
        self._deadline = time.monotonic() + (max_seconds or math.inf)

    def handle_signals(self) -> None:
        """From now on SIGINT and SIGTERM request a stop; a second SIGINT ends the process at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name
        if number == signal.SIGINT:  # the operating system handles the next one, also inside a long backward pass
            signal.signal(number, signal.SIG_DFL)

    def agreed(self, accelerator: Accelerator) -> bool:
        """Whether to stop now; the same answer in all processes."""
        if self.reason is None and time.monotonic() >= self._deadline:
            self.reason = "--max_train_seconds"
        if self.reason is None and self._launcher is not None and os.getppid() != self._launcher:
            self.reason = "the end of its launcher"
        stop = self.reason is not None
        if accelerator.num_processes > 1:  # a signal that comes meanwhile counts the next time
            stop = bool(accelerator.reduce(torch.tensor(float(stop), device=accelerator.device)) > 0)
            self.reason = self.reason or ("another process" if stop else None)
        return stop


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
    samples = as_tensor(map(on_white, generate(pipeline, requests)))
    images, held_out = over_white(train.images), over_white(held_out.images.cpu())
    usual = nearest_by_pixels(held_out, images).distance.median().item()
    near = int((nearest_by_pixels(samples, images).distance <= NEAR * usual).sum())
    return (
        f"Validation loss {metrics['validation_loss']:.4f}, of training images {metrics['train_split_loss']:.4f}. Of "
        f"{len(samples)} samples {near} are near a training image: at most half as far from it as held-out images "
        "usually are."
    )
