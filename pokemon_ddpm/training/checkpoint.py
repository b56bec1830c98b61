"""Checkpoints: complete or not there, safetensors and JSON only. Nothing is unpickled."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pokemon_ddpm.diffusion import LossSecondMoment
from pokemon_ddpm.files import sha256, write_file
from pokemon_ddpm.training.config import TrainingConfig, as_text

MODEL, EMA, OPTIMIZER, HISTORY = (f"{name}.safetensors" for name in ("model", "ema", "optimizer", "timesteps"))
MANIFEST = "manifest.json"
_PACKAGES = ("pokemon-ddpm", "torch", "diffusers", "accelerate")


class CheckpointError(ValueError):
    """A checkpoint cannot be written or used; the message names it."""


class ResumeError(ValueError):
    """A checkpoint belongs to a run with other settings; the message names all that differ."""


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """The state of a run beside its tensors.

    Attributes:
        step: Updates done.
        total_batch_size: Images an update, over all processes and accumulation.
        config: The run's configuration without the token.
        network: The `UNet2DModel` configuration.
        data_digest: Of the training split.
        metrics: Measured at this step; may be empty.
        skipped_updates: Updates skipped so far because they were not finite.
        grad_scaler: State of the fp16 loss scaler; empty without one.
        teacher_digest: Of a teacher's weights; empty without one.
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


@dataclasses.dataclass(frozen=True)
class TrainingTensors:
    """All tensors of a run.

    Attributes:
        model: Its parameters and buffers are saved by name.
        optimizer: Its tensors are saved by the number of the parameter.
        ema: Saved by the names of the parameters; None without EMA.
        history: Losses for importance sampling of timesteps, or None.
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

    def load(self, folder: Path, step: int) -> None:
        """Restores in place the tensors of a checkpoint whose files were checked.

        Raises:
            CheckpointError: If they are those of another network; nothing is changed then.
        """
        try:
            saved = {name: load_file(folder / name) for name in self.files()}
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"{folder} is not a complete checkpoint ({error}).") from error
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments = saved.pop(OPTIMIZER)
        shapes = {str(number): parameter.shape for number, parameter in enumerate(parameters)}
        fits = all(value.shape in ((), shapes.get(key.split(".")[0])) for key, value in moments.items())
        if not fits or any(_shapes(saved[name]) != _shapes(self.files()[name]) for name in saved):
            raise CheckpointError(f"{folder} belongs to another network than the one configured.")
        self.model.load_state_dict(saved[MODEL])
        if self.ema is not None:
            for (name, _), average in zip(self.model.named_parameters(), self.ema.shadow_params, strict=True):
                average.data.copy_(saved[EMA][name])
            self.ema.optimization_step = step
        if self.history is not None:
            self.history.load_state_dict(saved[HISTORY])
        restored = self.optimizer.state_dict()
        for key, value in moments.items():
            number, name = key.split(".", 1)
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:
                # Fused kernels need parameters and moments in the same memory layout.
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            else:
                value = value.clone()  # loaded tensors are mapped from the file, which may be deleted
            restored["state"].setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict(restored)


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def checkpoints(output_dir: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    found = [path for path in output_dir.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d{1,18}", path.name)]
    return sorted((path for path in found if path.is_dir()), key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.split("-")[1])


def best_checkpoint(output_dir: Path, metric: str) -> Path | None:
    """The checkpoint with the lowest value of a metric; None if it was never measured."""
    measured = {folder: state.metrics.get(metric, math.nan) for folder, state in _states(output_dir).items()}
    measured = {folder: value for folder, value in measured.items() if math.isfinite(value)}
    return min(measured, key=measured.get, default=None)


def last_good_checkpoint(output_dir: Path) -> Path | None:
    """The newest of the checkpoints with the fewest skipped updates."""
    states = _states(output_dir)
    return max(states, key=lambda folder: (-states[folder].skipped_updates, _step(folder)), default=None)


def _states(output_dir: Path) -> dict[Path, TrainingState]:
    """The states of the checkpoints that can be read."""
    states = {}
    for folder in checkpoints(output_dir):
        with contextlib.suppress(CheckpointError):
            states[folder] = load_state(folder)
    return states


def recover(output_dir: Path) -> None:
    """Restores a checkpoint if the run was killed while it was being replaced, and removes what a killed run left."""
    for aside in output_dir.glob(".checkpoint-*.replaced"):
        final = output_dir / aside.name[1:].removesuffix(".replaced")
        if not os.path.lexists(final):
            aside.rename(final)
    for left in output_dir.glob(".checkpoint-*"):
        _delete(left)


def _delete(path: Path) -> None:
    """Deletes a folder, file or link; renames it first, so that an interruption leaves no incomplete checkpoint."""
    if not path.name.startswith("."):
        path = path.rename(path.with_name(f".{path.name}.deleted"))
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def save_checkpoint(output_dir: Path, state: TrainingState, tensors: TrainingTensors, limit: int, metric: str) -> Path:
    """Writes `checkpoint-STEP/`: beside, flushed, then renamed. Then deletes the oldest and abandoned ones.

    Args:
        output_dir: The run's folder.
        state: For the manifest.
        tensors: For the safetensors files.
        limit: Number of newest checkpoints to keep; 0 for all. Also kept are the best one and the last good one.
        metric: The state's metric whose lowest value is the best.

    Raises:
        CheckpointError: If it cannot be written, for example on a full disk; all earlier ones are unchanged then.
    """
    final = output_dir / f"checkpoint-{state.step}"
    partial, replaced = (output_dir / f".{final.name}.{suffix}" for suffix in ("partial", "replaced"))
    try:
        recover(output_dir)
        partial.mkdir(parents=True)
        for name, of_file in tensors.files().items():
            save_file({key: tensor.contiguous() for key, tensor in of_file.items()}, partial / name)
            _flush(partial / name)
        manifest = _manifest(state, {path.name: sha256(path) for path in sorted(partial.iterdir())})
        write_file(partial / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        _flush(partial)
        if os.path.lexists(final):
            final.rename(replaced)
        partial.rename(final)
        _flush(output_dir)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            recover(output_dir)
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"{final} could not be written ({reason}).") from error
    with contextlib.suppress(OSError):  # what cannot be deleted now is deleted before the next checkpoint
        if os.path.lexists(replaced):
            _delete(replaced)
        for path in _abandoned(output_dir, state):
            _delete(path)
        if limit:
            # Later ones, where a run went back to an earlier checkpoint, do not count.
            past = [path for path in checkpoints(output_dir) if _step(path) <= state.step]
            kept = {*past[-limit:], best_checkpoint(output_dir, metric), last_good_checkpoint(output_dir)}
            for path in past:
                if path not in kept:
                    _delete(path)
    return final


def _abandoned(output_dir: Path, state: TrainingState) -> list[Path]:
    """The later checkpoints with other settings, from before the run went back to an earlier one."""
    names = [field.name for field in dataclasses.fields(TrainingConfig) if field.metadata.get("resume") == "say"]
    return [
        folder
        for folder, other in _states(output_dir).items()
        if other.step > state.step and any(other.config.get(name) != state.config.get(name) for name in names)
    ]


def _manifest(state: TrainingState, files: dict[str, str]) -> dict[str, Any]:
    """The state, the versions of the packages, and checksums of the files and of the manifest itself."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    manifest = {"state": dataclasses.asdict(state), "versions": versions, "files": files}
    return manifest | {"sha256": _checksum(manifest)}


def _checksum(manifest: dict[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or manifest.get("sha256") != _checksum(manifest):
            raise ValueError(f"{MANIFEST} was changed")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is not a complete checkpoint ({error}).") from error
    return manifest


def load_state(folder: Path) -> TrainingState:
    """Reads the state of a checkpoint.

    Raises:
        CheckpointError: If the manifest is missing, damaged, changed or of another version.
    """
    try:
        return TrainingState(**_load_manifest(folder)["state"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} was written by another version of this project ({error}).") from error


def _check_files(folder: Path) -> None:
    """Raises CheckpointError if a file of a checkpoint is missing or was changed."""
    for name, expected in _load_manifest(folder)["files"].items():
        try:
            changed = sha256(folder / Path(name).name) != expected
        except OSError as error:
            raise CheckpointError(f"{folder} is not a complete checkpoint ({error}).") from error
        if changed:
            raise CheckpointError(f"{folder} is not a complete checkpoint ({name} was changed).")


def load_weights(folder: Path, model: nn.Module) -> None:
    """Loads a checkpoint's EMA weights, or its plain ones without EMA, into a model.

    Raises:
        CheckpointError: If the checkpoint is damaged or of another network.
    """
    _check_files(folder)
    weights = load_file(folder / MODEL)
    if (folder / EMA).exists():
        weights |= load_file(folder / EMA)
    if _shapes(weights) != _shapes(model.state_dict()):
        raise CheckpointError(f"{folder} belongs to another network than the one configured.")
    model.load_state_dict(weights)


def find_checkpoints(output_dir: Path, name: str) -> list[Path]:
    """The checkpoints to try, newest first.

    Args:
        output_dir: The run's folder.
        name: "latest", or the path or name of one checkpoint.

    Raises:
        CheckpointError: If a named checkpoint does not exist.
    """
    if name == "latest":
        return checkpoints(output_dir)[::-1]
    for folder in (output_dir / name, Path(name)):
        if folder.is_dir():
            return [folder]
    known = ", ".join(path.name for path in checkpoints(output_dir)) or "none"
    raise CheckpointError(f"--resume_from_checkpoint: there is no {name}; checkpoints in {output_dir}: {known}.")


def restore(
    output_dir: Path, name: str, now: TrainingState, tensors: TrainingTensors, report: Callable[[str], None]
) -> tuple[Path, TrainingState] | None:
    """Restores the first complete checkpoint, and reports those that are not.

    Args:
        output_dir: See `find_checkpoints`.
        name: See `find_checkpoints`.
        now: The state of the run that resumes.
        tensors: Where the checkpoint's tensors are loaded.
        report: Called with a sentence for each problem, and for each changed setting that matters.

    Returns:
        The checkpoint and its state; None if there is none to try.

    Raises:
        CheckpointError: If none is complete.
        ResumeError: If the first complete one belongs to another run.
    """
    found = find_checkpoints(output_dir, name)
    for folder in found:
        try:
            state = load_state(folder)
            changed = compare_runs(folder, state, now)
            _check_files(folder)
            tensors.load(folder, state.step)
        except CheckpointError as error:
            if folder == found[-1]:
                raise
            report(f"{error} Trying the one before.")
            continue
        if changed:
            report(f"Changed from here on: {'; '.join(changed)}.")
        abandoned = _abandoned(output_dir, dataclasses.replace(now, step=state.step))
        if abandoned:
            names = ", ".join(path.name for path in abandoned)
            report(f"The next checkpoint replaces {names}, which had other settings.")
        return folder, state
    return None


def compare_runs(folder: Path, saved: TrainingState, now: TrainingState) -> list[str]:
    """Refuses to resume another run; returns the allowed changes that are worth a line.

    Raises:
        ResumeError: If something differs that changes what the run means, with all that does.
    """
    changed, differing = [], []
    for field in dataclasses.fields(TrainingConfig):
        # A flag that is newer than the checkpoint had its default.
        old, new = saved.config.get(field.name, field.default), now.config.get(field.name, field.default)
        policy = field.metadata.get("resume", "no")
        if old != new and policy != "yes":
            text = f"--{field.name} was {as_text(old)}, now {as_text(new)}"
            (changed if policy == "say" else differing).append(text)
    for name in sorted(saved.network.keys() | now.network.keys()):
        if saved.network.get(name) != now.network.get(name):
            differing.append(f"the network's {name} was {saved.network.get(name)}, now {now.network.get(name)}")
    if saved.total_batch_size != now.total_batch_size:
        differing.append(f"the batch size was {saved.total_batch_size}, now {now.total_batch_size}")
    if saved.data_digest != now.data_digest:
        differing.append("the training images or their labels are others")
    if saved.teacher_digest != now.teacher_digest:
        differing.append("the teacher's weights are others")
    if differing:
        raise ResumeError(f"{folder} belongs to a run with other settings: {'; '.join(differing)}.")
    return changed
