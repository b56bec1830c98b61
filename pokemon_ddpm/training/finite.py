"""Updates that are not finite: skipped on the device, counted there, and read only now and then."""

from pathlib import Path
from typing import NoReturn

import torch
from accelerate import Accelerator

from pokemon_ddpm.training.checkpoint import TrainingTensors, checkpoints


class DivergedError(RuntimeError):
    """The run cannot go on; the message says what happened and where the last good checkpoint is."""


class NonFiniteGuard:
    """Makes a fused optimiser leave weights and moments as they are where the gradient is not finite.

    Args:
        accelerator: Of this process.
        optimizer: The optimiser itself, not what Accelerate has put around it; fused, since only fused kernels can be
            told on the device to do nothing.
        max_skipped: How many updates may be skipped in all.
        output_dir: The run's folder.
    """

    def __init__(self, accelerator: Accelerator, optimizer: torch.optim.Optimizer, max_skipped: int, output_dir: Path):
        self._accelerator, self._optimizer = accelerator, optimizer
        self._max_skipped, self._output_dir = max_skipped, output_dir
        self._skipped = torch.zeros((), device=accelerator.device)

    def before_update(self, grad_norm: torch.Tensor, loss: torch.Tensor) -> None:
        """Looks at the norm of the gradient, which all processes share, and the loss of this one: both scalars."""
        if self._accelerator.scaler is None:
            # The hook that loss scalers use: 1 makes the kernel do nothing.
            bad = (~grad_norm.isfinite()).float()
            self._optimizer.found_inf = bad
        else:
            # The scaler skips overflowing gradients itself, and finds its scale by that: only a bad loss is counted.
            bad = (~loss.isfinite()).float()
        self._skipped += bad

    def restore(self, skipped: int) -> None:
        """Goes on counting from a checkpoint's number."""
        self._skipped.fill_(skipped)

    def check(self, step: int) -> int:
        """Returns how many updates were skipped so far; waits for the device and the other processes.

        Raises:
            DivergedError: If they are more than allowed.
        """
        skipped = int(self._accelerator.gather(self._skipped.view(1)).max().item())
        if skipped > self._max_skipped:
            self._stop(
                step,
                f"{skipped} updates were not finite and were skipped, more than --max_bad_steps {self._max_skipped}",
            )
        return skipped

    def check_tensors(self, step: int, tensors: TrainingTensors) -> None:
        """Looks at all that a checkpoint would hold; waits for the device once.

        Raises:
            DivergedError: If there is NaN or infinity.
        """
        floats = [t for of_file in tensors.files().values() for t in of_file.values() if t.is_floating_point()]
        if not torch.stack([tensor.isfinite().all() for tensor in floats]).all():
            self._stop(step, "weights or moments are no longer finite")

    def _stop(self, step: int, reason: str) -> NoReturn:
        last = (checkpoints(self._output_dir) or ["none"])[-1]
        raise DivergedError(
            f"Update {step:,}: {reason}. The last good checkpoint: {last}. A lower --learning_rate, a longer "
            "--lr_warmup_steps or --mixed_precision no may help."
        )
