"""Checkpoints: whole or not there, safetensors and JSON only, nothing is ever unpickled."""

import contextlib
import hashlib
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pokemon_ddpm.timesteps import LossSecondMoment

MODEL, EMA, OPTIMIZER, HISTORY = (f"{name}.safetensors" for name in ("model", "ema", "optimizer", "timesteps"))
MANIFEST = "manifest.json"
_FOLDER = re.compile(r"checkpoint-(\d+)")
_PACKAGES = ("pokemon-ddpm", "torch", "diffusers", "accelerate")


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands, beside its tensors.

    Attributes:
        step: Updates done.
        total_batch_size: Pictures an update, over all processes and accumulation.
        config: The run's configuration, without the token.
        network: The `UNet2DModel` configuration.
        data_digest: Of the training split's tensors.
        metrics: What was measured at this step; empty if nothing was.
        skipped_updates: Updates skipped so far because they were not finite.
        grad_scaler: State of the fp16 loss scaler; empty without one.
        teacher_digest: Of the weights of a student's teacher; empty without one.
    """

    step: int
    total_batch_size: int
    config: dict[str, Any]
    network: dict[str, Any]
    data_digest: str
    metrics: dict[str, float]
    skipped_updates: int
    grad_scaler: dict[str, Any]
    teacher_digest: str = ""


@dataclass(frozen=True)
class TrainingTensors:
    """All tensors of a run.

    Attributes:
        model: Its parameters and buffers are saved by name.
        optimizer: Its tensors are saved by parameter number.
        ema: Its averages are saved by the names of the model's parameters; None without an average.
        history: The losses that timesteps are drawn by; None if they are drawn without.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMAModel | None = None
    history: LossSecondMoment | None = None

    def files(self) -> dict[str, dict[str, torch.Tensor]]:
        """File name -> its tensors by name."""
        files = {MODEL: dict(self.model.state_dict())}
        files[OPTIMIZER] = {
            f"{number}.{name}": value
            for number, values in self.optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        if self.ema is not None:
            names = [name for name, _ in self.model.named_parameters()]
            files[EMA] = dict(zip(names, self.ema.shadow_params, strict=True))
        if self.history is not None:
            files[HISTORY] = self.history.state_dict()
        return files


def checkpoints(output_dir: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    found = [path for path in output_dir.glob("checkpoint-*") if _FOLDER.fullmatch(path.name)]
    return sorted(found, key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.split("-")[1])


def best_checkpoint(output_dir: Path, metric: str) -> Path | None:
    """The checkpoint with the lowest value of a metric; None if it was measured at none."""
    measured = {}
    for folder in checkpoints(output_dir):
        with contextlib.suppress(CheckpointError):
            value = load_state(folder).metrics.get(metric, math.nan)
            if math.isfinite(value):
                measured[folder] = value
    return min(measured, key=measured.get, default=None)


def recover(output_dir: Path) -> None:
    """Puts back a checkpoint whose run was killed between moving it aside and moving its replacement in."""
    for aside in output_dir.glob(".checkpoint-*.replaced"):
        final = output_dir / aside.name[1:].removesuffix(".replaced")
        if not final.exists():
            with contextlib.suppress(OSError):  # another process was faster
                aside.rename(final)


def save_checkpoint(output_dir: Path, state: TrainingState, tensors: TrainingTensors, limit: int, metric: str) -> Path:
    """Writes `checkpoint-STEP/` beside its final place, flushes it to disk, renames it, and deletes the oldest.

    Args:
        output_dir: The run's folder.
        state: Goes into the manifest.
        tensors: Go into safetensors files.
        limit: How many checkpoints to keep beside the best one; 0 for all.
        metric: Which of the state's metrics says what the best one is, by its lowest value.

    Raises:
        CheckpointError: If it cannot be written, for example because the disk is full; all earlier ones are then as
            they were.
    """
    final = output_dir / f"checkpoint-{state.step}"
    partial = output_dir / f".{final.name}.partial"
    replaced = output_dir / f".{final.name}.replaced"
    recover(output_dir)
    try:
        for left in output_dir.glob(".checkpoint-*"):  # by a run that was killed while it saved
            shutil.rmtree(left)
        partial.mkdir(parents=True)
        for name, of_file in tensors.files().items():
            save_file({key: tensor.contiguous() for key, tensor in of_file.items()}, partial / name)
        manifest = _manifest(state, {path.name: sha256(path) for path in sorted(partial.iterdir())})
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for path in [*partial.iterdir(), partial]:
            _flush(path)
        if final.exists():
            final.rename(replaced)
        partial.rename(final)
        _flush(output_dir)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"{final} could not be written ({reason}).") from error
    shutil.rmtree(replaced, ignore_errors=True)
    if limit:
        # Later ones, where a run went back to an earlier one, are not counted: this one must be among the kept.
        past = [path for path in checkpoints(output_dir) if _step(path) <= state.step]
        best = best_checkpoint(output_dir, metric)
        for path in past[:-limit]:
            if path != best:
                shutil.rmtree(path, ignore_errors=True)
    return final


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(state: TrainingState, files: dict[str, str]) -> dict[str, Any]:
    """The state, the versions it was made by, and checksums of the files and of the manifest itself."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    manifest = {"state": asdict(state), "versions": versions, "files": files}
    return manifest | {"sha256": _own_checksum(manifest)}


def _own_checksum(manifest: dict[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder, and needs no flush of one
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or manifest.get("sha256") != _own_checksum(manifest):
            raise ValueError(f"{MANIFEST} is not as it was written")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is not a whole checkpoint ({error}).") from error
    return manifest


def load_state(folder: Path) -> TrainingState:
    """Reads where a checkpoint's run stood.

    Raises:
        CheckpointError: If the manifest is missing, damaged, edited or of another version.
    """
    try:
        return TrainingState(**_load_manifest(folder)["state"])
    except TypeError as error:
        raise CheckpointError(f"{folder} was written by another version of this project ({error}).") from error


def check_files(folder: Path) -> None:
    """Compares a checkpoint's files with its checksums.

    Raises:
        CheckpointError: If one is missing, damaged or exchanged.
    """
    for name, expected in _load_manifest(folder)["files"].items():
        try:
            found = sha256(folder / Path(name).name)
        except OSError as error:
            raise CheckpointError(f"{folder} is not a whole checkpoint ({error}).") from error
        if found != expected:
            raise CheckpointError(f"{folder} is not a whole checkpoint ({name} is not as it was written).")


def load_tensors(folder: Path, state: TrainingState, tensors: TrainingTensors) -> None:
    """Restores the tensors that `save_checkpoint` saved, in place.

    Args:
        folder: The checkpoint.
        state: Its state.
        tensors: Where they go.

    Raises:
        CheckpointError: If the checkpoint is incomplete, damaged or of another model; nothing is changed then.
    """
    check_files(folder)
    model, optimizer, ema = tensors.model, tensors.optimizer, tensors.ema
    try:
        saved = {name: load_file(folder / name) for name in tensors.files()}
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder} is not a whole checkpoint ({error}).") from error
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbered = {str(number): parameter.shape for number, parameter in enumerate(parameters)}
    moments = saved.pop(OPTIMIZER)
    fits = all(_shapes(saved[name]) == _shapes(of_file) for name, of_file in tensors.files().items() if name in saved)
    fits = fits and all(value.shape in ((), numbered.get(key.split(".")[0])) for key, value in moments.items())
    if not fits:
        raise CheckpointError(f"{folder} belongs to another network than the one configured.")
    model.load_state_dict(saved[MODEL])
    if ema is not None:
        for (name, _), average in zip(model.named_parameters(), ema.shadow_params, strict=True):
            average.data.copy_(saved[EMA][name])
        ema.optimization_step = state.step
    if tensors.history is not None:
        tensors.history.load_state_dict(saved[HISTORY])
    restored = optimizer.state_dict()
    for key, value in moments.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # Fused kernels walk parameters and moments in memory order, so both must be laid out alike.
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        else:
            value = value.clone()  # what is loaded is mapped from the file, which may have to go
        restored["state"].setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(restored)


def load_weights(folder: Path, model: nn.Module) -> None:
    """Puts a checkpoint's averaged weights into a model, its plain ones if it has no average.

    Raises:
        CheckpointError: If the checkpoint is damaged or of another model.
    """
    check_files(folder)
    weights = load_file(folder / MODEL)
    if (folder / EMA).exists():
        weights |= load_file(folder / EMA)
    if _shapes(weights) != _shapes(model.state_dict()):
        raise CheckpointError(f"{folder} belongs to another network than the one configured.")
    model.load_state_dict(weights)


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
