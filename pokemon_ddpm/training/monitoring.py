"""What watches over a run: its log, updates that are not finite, and requests to stop."""

import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

from pokemon_ddpm.training.checkpoint import TrainingTensors


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

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time inside out of the training speed."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

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


@contextmanager
def warn_only(consequence: str = "The run continues.", errors: tuple = (ValueError, OSError)) -> Iterator[None]:
    """Turns an error that a run survives into a warning."""
    try:
        yield
    except errors as error:
        tqdm.write(f"warning: {str(error).rstrip('.')}. {consequence}")


class NonFiniteGuard:
    """Ends a run with too many updates that were skipped since they were not finite.

    Args:
        max_skipped: How many updates may be skipped in all.
    """

    def __init__(self, accelerator: Accelerator, max_skipped: int):
        self._accelerator, self._max_skipped = accelerator, max_skipped
        self.counts = torch.zeros(2, device=accelerator.device)  # skipped in all, and in a row up to now

    def check(self, step: int) -> tuple[int, int]:
        """How many updates were skipped in all, and how many in a row up to now; waits for device and processes.

        Raises:
            ValueError: If there are more than allowed.
        """
        skipped, in_a_row = (int(count) for count in self._accelerator.gather(self.counts[None]).amax(dim=0).tolist())
        if skipped > self._max_skipped:
            self.stop(step, f"{skipped} updates were not finite, more than --max_bad_steps {self._max_skipped}")
        return skipped, in_a_row

    def check_tensors(self, step: int, tensors: TrainingTensors) -> None:
        """Raises ValueError if anything that a checkpoint would contain is not finite; waits for the device."""
        floats = [t for of_file in tensors.files().values() for t in of_file.values() if t.is_floating_point()]
        if not torch.stack([tensor.isfinite().all() for tensor in floats]).all():
            self.stop(step, "weights or moments are no longer finite")

    def stop(self, step: int, reason: str) -> NoReturn:
        """Raises ValueError with advice."""
        raise ValueError(
            f"Update {step:,}: {reason}. Go back with --resume_from_checkpoint to one before that, with a lower "
            "--learning_rate or a longer --lr_warmup_steps; --mixed_precision no may help too."
        )


class StopRequest:
    """Notes that the run should stop: a signal, the time limit, or the end of the launcher."""

    def __init__(self, max_seconds: float | None):
        self.reason: str | None = None  # why to stop
        # If its launcher is killed, nobody else would end a training process.
        launched = {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"} & os.environ.keys()
        self._launcher = os.getppid() if launched else None
        self._deadline = time.monotonic() + (max_seconds or math.inf)

    @property
    def seconds_left(self) -> float:
        """Until the time limit; infinite without one."""
        return max(self._deadline - time.monotonic(), 0.0)

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
        if self.reason is None and not self.seconds_left:
            self.reason = "--max_train_seconds"
        if self.reason is None and self._launcher is not None and os.getppid() != self._launcher:
            self.reason = "the end of its launcher"
        stop = self.reason is not None
        if accelerator.num_processes > 1:  # a signal that comes meanwhile counts the next time
            stop = bool(accelerator.reduce(torch.tensor(float(stop), device=accelerator.device)) > 0)
            self.reason = self.reason or ("another process" if stop else None)
        return stop
