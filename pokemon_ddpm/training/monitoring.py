"""What watches over a run: its log, and requests to stop."""

import math
import os
import signal
import time
from collections.abc import Mapping
from types import FrameType

import torch
from accelerate import Accelerator


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
