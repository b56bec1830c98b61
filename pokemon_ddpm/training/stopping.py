"""Stopping a run early without losing anything: by a signal, or because its time is up or its launcher is gone."""

import os
import signal
import socket
import threading
import time
from types import FrameType, TracebackType

import torch
from accelerate import Accelerator


class StopRequest:
    """Notes that the run should stop; the loop asks after each update and then saves.

    Used as a context manager, it handles SIGINT and SIGTERM. A second SIGINT ends the process at once.

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
        # Python runs a handler only between two of its own instructions, and a backward pass is a single one, which
        # can take minutes. So a thread counts the interrupts as they arrive.
        reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._previous_descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._end_at_second_interrupt, args=(reader,), daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        signal.set_wakeup_fd(self._previous_descriptor)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._writer.close()  # which ends the thread

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name

    @staticmethod
    def _end_at_second_interrupt(reader: socket.socket) -> None:
        interrupts = 0
        with reader:
            while number := reader.recv(1):
                interrupts += number[0] == signal.SIGINT
                if interrupts == 2:
                    os._exit(128 + signal.SIGINT)

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
