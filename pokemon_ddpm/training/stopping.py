"""Stopping a run early without losing anything: by a signal, or because its time is up or its launcher is gone."""

import os
import signal
import time
from types import FrameType, TracebackType

import torch
from accelerate import Accelerator


class StopRequest:
    """Notes that the run should stop; the loop asks after each update and then saves.

    Used as a context manager, it handles SIGINT and SIGTERM. A second SIGINT stops at once.

    Args:
        max_seconds: Stop after this time; None for no limit.
    """

    def __init__(self, max_seconds: float | None):
        self.reason: str | None = None
        """Why to stop; None to go on."""
        # A launcher that dies leaves its trainers running, with nobody to tell them to stop.
        launched = {"ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"} & os.environ.keys()
        self._launcher = os.getppid() if launched else None
        self._deadline = None if max_seconds is None else time.monotonic() + max_seconds
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.reason and number == signal.SIGINT:
            raise SystemExit(128 + number)
        self.reason = signal.Signals(number).name

    def requested(self) -> bool:
        """Whether this process should stop; the way to ask inside longer work between two updates."""
        if self.reason is None and self._deadline is not None and time.monotonic() > self._deadline:
            self.reason = "--max_train_seconds"
        if self.reason is None and self._launcher is not None and os.getppid() != self._launcher:
            self.reason = "the end of its launcher"
        return self.reason is not None

    def wanted(self, accelerator: Accelerator) -> bool:
        """Whether to stop now; all processes get the same answer."""
        wants = self.requested()
        if accelerator.num_processes > 1:
            votes = accelerator.reduce(torch.tensor(float(wants), device=accelerator.device))
            wants = bool(votes.item() > 0)
            self.reason = self.reason or ("another process" if wants else None)
        return wants
