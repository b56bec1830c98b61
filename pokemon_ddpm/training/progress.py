"""What a run tells of itself at every log interval."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch
from accelerate import Accelerator


class Meter:
    """Means over a log interval, added up on the device and read once an interval.

    Args:
        accelerator: Of this process.
    """

    def __init__(self, accelerator: Accelerator):
        self._accelerator = accelerator
        self._reset()

    def _reset(self) -> None:
        self._sums = torch.zeros(3, device=self._accelerator.device)
        self._images, self._since = 0, time.perf_counter()

    def add(self, loss: torch.Tensor, grad_norm: torch.Tensor, images: int) -> None:
        """An update: its loss and the norm of its gradient, scalars on the device, and its pictures, of all processes.

        Updates that are not finite count for the speed only.
        """
        values = torch.stack([loss, grad_norm, torch.ones_like(loss)])
        self._sums += torch.where(values.isfinite().all(), values, 0.0)
        self._images += images

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside does not count for the speed, which is that of training."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def read(self) -> dict[str, float]:
        """Loss, grad_norm, images_per_second and memory_gb of the interval, and starts the next one."""
        loss, grad_norm, count = self._accelerator.reduce(self._sums, "mean").tolist()
        seconds = time.perf_counter() - self._since
        values = {
            "loss": loss / count if count else float("nan"),
            "grad_norm": grad_norm / count if count else float("nan"),
            "images_per_second": self._images / seconds,
            "memory_gb": memory_gb(self._accelerator.device),
        }
        self._reset()
        return values


def memory_gb(device: torch.device) -> float:
    """Peak memory allocated on a CUDA device, else the process's resident memory, in GB (10^9 bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return psutil.Process().memory_info().rss / 1e9


def log_line(step: int, images_seen: int, values: dict[str, float]) -> str:
    """One line for people; `values` are those of `Meter.read`, "lr", and "skipped_updates"."""
    parts = [
        f"step {step:,}",
        f"images {images_seen:,}",
        f"{values['images_per_second']:.1f} images/s",
        f"loss {values['loss']:.4f}",
        f"lr {values['lr']:.2e}",
        f"grad norm {values['grad_norm']:.3f}",
        f"memory {values['memory_gb']:.2f} GB",
    ]
    if values["skipped_updates"]:
        parts.append(f"skipped {values['skipped_updates']:.0f}")
    return "  ".join(parts)
