"""What watches over a run: its log and tracker, updates that are not finite, and requests to stop."""

import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil
import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

from pokemon_ddpm.training.checkpoint import TrainingTensors, last_good_checkpoint

TIME_LIMIT = "--max_train_seconds"  # a reason to stop


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
        """Loss, grad_norm, images_per_second and memory_gb of the interval; starts the next one.

        The memory, in 10^9 bytes, is the peak of what is allocated on a CUDA device, else that of the process.
        """
        sums = self._accelerator.reduce(self._sums, "mean")
        loss, grad_norm = (sums[:2] / sums[2]).tolist()  # NaN without an update
        cuda = self._device.type == "cuda"
        memory = torch.cuda.max_memory_allocated(self._device) if cuda else psutil.Process().memory_info().rss
        values = {
            "loss": loss,
            "grad_norm": grad_norm,
            "images_per_second": self._images / (time.perf_counter() - self._since),
            "memory_gb": memory / 1e9,
        }
        self._reset()
        return values


def log_line(step: int, values: Mapping[str, float]) -> str:
    """A log line of the values of `Meter.read`, "images_seen", "lr" and "skipped_updates"."""
    line = (
        "step {step:,}  images {images_seen:,}  {images_per_second:.1f} images/s  loss {loss:.4f}  lr {lr:.2e}  "
        "grad norm {grad_norm:.3f}  memory {memory_gb:.2f} GB"
    )
    skipped = "  skipped {skipped_updates}" if values["skipped_updates"] else ""
    return (line + skipped).format(step=step, **values)


@contextmanager
def warn_only(consequence: str = "The run continues.") -> Iterator[None]:
    """Turns an error that a run survives into a warning."""
    try:
        yield
    except (ValueError, OSError) as error:
        tqdm.write(f"warning: {str(error).rstrip('.')}. {consequence}")


@contextmanager
def tracking(accelerator: Accelerator) -> Iterator[None]:
    """If the tracker fails (a full disk, no network), the run continues without it."""
    try:
        yield
    except Exception as error:  # each tracker has its own exceptions
        accelerator.trackers.clear()
        tqdm.write(f"warning: --report_to failed ({error}). The run continues without it.")


class DivergedError(RuntimeError):
    """The run cannot continue; the message says what happened and which checkpoint is good."""


class NonFiniteGuard:
    """Ends a run with too many updates that were skipped since they were not finite.

    Args:
        max_skipped: How many updates may be skipped in all.
    """

    def __init__(self, accelerator: Accelerator, max_skipped: int, output_dir: Path):
        self._accelerator, self._max_skipped, self._output_dir = accelerator, max_skipped, output_dir
        self.counts = torch.zeros(2, device=accelerator.device)  # skipped in all, and in a row up to now
        self._in_a_row = 0  # over all processes, when last checked

    def check(self, step: int) -> tuple[int, int]:
        """How many updates were skipped in all, and how many in a row up to now; waits for device and processes.

        Raises:
            DivergedError: If there are more than allowed.
        """
        counts = self._accelerator.gather(self.counts[None]).amax(dim=0)
        skipped, self._in_a_row = (int(count) for count in counts.tolist())
        if skipped > self._max_skipped:
            self.stop(step, f"{skipped} updates were not finite, more than --max_bad_steps {self._max_skipped}")
        return skipped, self._in_a_row

    def check_tensors(self, step: int, tensors: TrainingTensors) -> None:
        """Checks everything that a checkpoint would contain; waits for the device once.

        Raises:
            DivergedError: If there is NaN or infinity.
        """
        floats = [t for of_file in tensors.files().values() for t in of_file.values() if t.is_floating_point()]
        if not torch.stack([tensor.isfinite().all() for tensor in floats]).all():
            self.stop(step, "weights or moments are no longer finite")

    def stop(self, step: int, reason: str) -> NoReturn:
        """Raises DivergedError with advice."""
        # The weights before the last row of skipped updates are those that fail.
        last = last_good_checkpoint(self._output_dir, before=step - self._in_a_row)
        advice = "There is no good checkpoint. Start again with --overwrite_output_dir and"
        if last:
            advice = f"The last good checkpoint: {last}. Resume with --resume_from_checkpoint {last.name} and"
        raise DivergedError(
            f"Update {step:,}: {reason}. {advice} a lower --learning_rate or a longer --lr_warmup_steps; "
            "--mixed_precision no may help too."
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

    @contextmanager
    def at_signals(self) -> Iterator[None]:
        """Handles SIGINT and SIGTERM; a second SIGINT ends the process at once."""
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.reason in (None, TIME_LIMIT):  # also ends what is done after the time
            self.reason = signal.Signals(number).name
        if number == signal.SIGINT:  # the operating system handles the next one, also inside a long backward pass
            signal.signal(number, signal.SIG_DFL)

    def requested(self) -> bool:
        """Whether this process should stop."""
        if self.reason is None and time.monotonic() > self._deadline:
            self.reason = TIME_LIMIT
        if self.reason is None and self._launcher is not None and os.getppid() != self._launcher:
            self.reason = "the end of its launcher"
        return self.reason is not None

    def agreed(self, accelerator: Accelerator) -> bool:
        """Whether to stop now; the same answer in all processes."""
        stop = self.requested()
        if accelerator.num_processes > 1:
            votes = torch.tensor([float(stop), float(self.reason == TIME_LIMIT)], device=accelerator.device)
            stop, by_time = (accelerator.reduce(votes) > 0).tolist()
            self.reason = self.reason or (TIME_LIMIT if by_time else "another process" if stop else None)
        return stop
