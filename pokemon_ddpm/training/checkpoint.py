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
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args, get_origin

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from pokemon_ddpm.files import check_file, read_file, sha256, write_file
from pokemon_ddpm.improved_ddpm import TimestepResampler
from pokemon_ddpm.training.config import MAX_NUMBER, TrainingConfig, as_text

MODEL, EMA, OPTIMIZER, TIMESTEPS = (f"{name}.safetensors" for name in ("model", "ema", "optimizer", "timesteps"))
MANIFEST = "manifest.json"


class CheckpointError(ValueError):
    """A checkpoint cannot be written or used; the message names it."""


@contextlib.contextmanager
def _incomplete(folder: Path) -> Iterator[None]:
    """One message for everything that can be wrong with a checkpoint's files."""
    try:
        yield
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{folder} is not a complete checkpoint ({error}).") from error


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """The state of a run beside its tensors."""

    step: int  # updates done
    total_batch_size: int  # images of an update, over all processes and accumulation
    config: dict[str, Any]  # `TrainingConfig.public`
    network: dict[str, Any]  # configuration of the `UNet2DModel`
    data_digest: str  # of the training split
    metrics: dict[str, float]  # measured at this step
    skipped_updates: int  # so far, because they were not finite
    grad_scaler: dict[str, Any]  # state of the fp16 loss scaler
    teacher_digest: str = ""  # of its weights


@dataclasses.dataclass(frozen=True)
class TrainingTensors:
    """All tensors of a run: by name, but those of the optimizer by the number of the parameter."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMAModel | None = None
    resampler: TimestepResampler | None = None

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
        if self.resampler is not None:
            files[TIMESTEPS] = self.resampler.state_dict()
        return files

    def load(self, folder: Path, step: int) -> None:
        """Restores the tensors of a checkpoint in place.

        Raises:
            CheckpointError: If a file is damaged or of another network; nothing is changed then.
        """
        own = self.files()
        saved = _load_tensors(folder, own)
        own[OPTIMIZER] = self._optimizer_state(saved[OPTIMIZER])
        for name in own:
            _check_tensors(folder, saved[name], own[name])
        self.model.load_state_dict(saved[MODEL])
        if self.ema is not None:
            for (name, _), average in zip(self.model.named_parameters(), self.ema.shadow_params, strict=True):
                average.data.copy_(saved[EMA][name])
            self.ema.optimization_step = step
        if self.resampler is not None:
            self.resampler.load_state_dict(saved[TIMESTEPS])
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        restored = self.optimizer.state_dict()
        for key, value in saved[OPTIMIZER].items():
            number, name = key.split(".", 1)
            parameter = parameters[int(number)]
            if value.shape == parameter.shape:
                # Fused kernels need parameters and moments in the same memory layout.
                value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            else:
                value = value.clone()  # loaded tensors are mapped from the file, which may be deleted
            restored["state"].setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict(restored)

    def _optimizer_state(self, saved: Iterable[str]) -> dict[str, torch.Tensor]:
        """By name, tensors of the shapes that the optimizer has for the parameters with a state among these names."""
        numbers, state = {name.split(".")[0] for name in saved}, {}
        groups = self.optimizer.param_groups
        parameters = [(parameter, group) for group in groups for parameter in group["params"]]
        for number, (parameter, group) in enumerate(parameters):
            if str(number) in numbers:
                moments = ["momentum"] if group.get("orthogonal") else ["exp_avg", "exp_avg_sq"]
                state |= {f"{number}.step": torch.zeros(())} | {f"{number}.{name}": parameter for name in moments}
        return state


def _check_tensors(folder: Path, saved: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> None:
    kinds = [{name: (tensor.shape, tensor.dtype) for name, tensor in each.items()} for each in (saved, own)]
    if kinds[0] != kinds[1]:
        raise CheckpointError(f"{folder} belongs to another network than the one configured.")


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


def last_good_checkpoint(output_dir: Path, before: float = math.inf) -> Path | None:
    """The newest of the checkpoints before a step with the fewest skipped updates."""
    states = {folder: state for folder, state in _states(output_dir).items() if state.step < before}
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
        delete(left)


def delete(path: Path) -> None:
    """Deletes a folder, a file or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def save_checkpoint(output_dir: Path, state: TrainingState, tensors: TrainingTensors, limit: int, metric: str) -> None:
    """Writes `checkpoint-STEP/`: beside, flushed, then renamed. Then deletes the oldest and abandoned ones.

    Args:
        limit: Number of newest checkpoints to keep; 0 for all. Also kept are the best one and the last good one.
        metric: The metric with the lowest value in the best one.

    Raises:
        CheckpointError: If it cannot be written, for example on a full disk; all earlier ones are unchanged then.
    """
    final = output_dir / f"checkpoint-{state.step}"
    partial, replaced = (output_dir / f".{final.name}.{suffix}" for suffix in ("partial", "replaced"))
    try:
        recover(output_dir)
        _write(partial, state, tensors)
        if os.path.lexists(final):
            final.rename(replaced)
        partial.rename(final)
        _flush(output_dir)
    except OSError as error:
        with contextlib.suppress(OSError):
            recover(output_dir)
        raise CheckpointError(f"{final} could not be written ({error.strerror or error}).") from error
    with contextlib.suppress(OSError):  # what cannot be deleted now is deleted before the next checkpoint
        if os.path.lexists(replaced):
            delete(replaced)
        for path in _abandoned(output_dir, state):
            _delete_checkpoint(path)
        # Later ones, where a run went back to an earlier checkpoint, do not count. A limit of 0 keeps all: past[-0:].
        past = [path for path in checkpoints(output_dir) if _step(path) <= state.step]
        kept = {*past[-limit:], best_checkpoint(output_dir, metric), last_good_checkpoint(output_dir)}
        for path in past:
            if path not in kept:
                _delete_checkpoint(path)


def _delete_checkpoint(path: Path) -> None:
    delete(path.rename(path.with_name(f".{path.name}.deleted")))  # an interruption leaves no incomplete checkpoint


def _write(folder: Path, state: TrainingState, tensors: TrainingTensors) -> None:
    """The manifest has the state, the versions of the packages, and checksums of the files and of itself."""
    folder.mkdir(parents=True)
    for name, of_file in tensors.files().items():
        write_file(folder / name, save({key: tensor.contiguous() for key, tensor in of_file.items()}))
    packages = ("pokemon-ddpm", "torch", "diffusers", "accelerate")
    versions = {"python": platform.python_version()} | {name: version(name) for name in packages}
    files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    manifest = {"state": dataclasses.asdict(state), "versions": versions, "files": files}
    manifest["sha256"] = _checksum(manifest)
    write_file(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    _flush(folder)


def _abandoned(output_dir: Path, state: TrainingState) -> list[Path]:
    """The later checkpoints with other settings, from before the run went back to an earlier one."""
    names = [field.name for field in dataclasses.fields(TrainingConfig) if field.metadata.get("resume") == "say"]
    return [
        folder
        for folder, other in _states(output_dir).items()
        if other.step > state.step and any(other.config.get(name) != state.config.get(name) for name in names)
    ]


def _checksum(manifest: dict[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _flush(folder: Path) -> None:
    if os.name != "nt":  # Windows cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def load_state(folder: Path) -> TrainingState:
    """Reads the state of a checkpoint; for the errors see `_load_manifest`."""
    return _load_manifest(folder)[0]


def _load_manifest(folder: Path) -> tuple[TrainingState, dict[str, str]]:
    """The state, and file name -> checksum.

    Raises:
        CheckpointError: If the manifest is missing, damaged, changed or of another version.
    """
    with _incomplete(folder):
        manifest = json.loads(read_file(folder / MANIFEST, folder))
        if not isinstance(manifest, dict) or manifest.get("sha256") != _checksum(manifest):
            raise ValueError(f"{MANIFEST} was changed")
    try:
        state, files = TrainingState(**manifest["state"]), manifest["files"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} was written by another version of this project ({error}).") from error
    with _incomplete(folder):
        kinds = {field.name: field.type for field in dataclasses.fields(TrainingState)}
        wrong = [name for name, kind in kinds.items() if not _fits(getattr(state, name), kind)]
        wrong += ["files"] * (not _fits(files, dict[str, str]))
        if wrong:
            raise ValueError(f"{MANIFEST} has unusable values of {', '.join(wrong)}")
    return state, files


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value in JSON is of the type of a field; `Any` is a value, or a list of values."""
    if kind is Any:
        each = value if isinstance(value, list) else [value]
        return all(isinstance(part, (str, float, int, type(None))) for part in each)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_fits(part, get_args(kind)[1]) for part in value.values())
    return type(value) is kind and (kind is not int or 0 <= value <= MAX_NUMBER)


def _load_tensors(folder: Path, names: Iterable[str]) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors by the name of their file. Raises CheckpointError if a file is missing or was changed."""
    _, expected = _load_manifest(folder)
    with _incomplete(folder):
        for name in names:
            check_file(folder / name, math.inf)
            if sha256(folder / name) != expected.get(name):
                raise ValueError(f"{name} was changed")
        return {name: load_file(folder / name) for name in names}


def load_weights(folder: Path, model: nn.Module) -> None:
    """Loads a checkpoint's EMA weights, or its plain ones without EMA, into the model of the run.

    Raises:
        CheckpointError: If it is damaged or of another network; nothing is changed then.
    """
    _, files = _load_manifest(folder)
    saved = _load_tensors(folder, [MODEL, *({EMA} & files.keys())])
    _check_tensors(folder, saved[MODEL], model.state_dict())
    if EMA in saved:
        _check_tensors(folder, saved[EMA], dict(model.named_parameters()))
    model.load_state_dict(saved[MODEL] | saved.get(EMA, {}))


def find_checkpoints(output_dir: Path, name: str) -> list[Path]:
    """The checkpoints to try: all for "latest", newest first, or the one with this path or name.

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
) -> TrainingState:
    """Restores the first complete one of `find_checkpoints`, and returns its state; `now` if there is none to try.

    Args:
        now: The state of the run that resumes.
        report: Called with sentences about what was restored, damaged, or changed in its settings.

    Raises:
        ValueError: If none is complete, or the first complete one belongs to another run.
    """
    found = find_checkpoints(output_dir, name)
    for folder in found:
        try:
            state = load_state(folder)
            changed = _compare(folder, state, now)
            if _kinds(state.grad_scaler) != _kinds(now.grad_scaler):
                raise CheckpointError(f"{folder} is not a complete checkpoint ({MANIFEST} has another grad_scaler).")
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
        report(f"Resuming from {folder}.")
        return state
    report(f"{output_dir} has no checkpoint yet; starting from the beginning.")
    return now


def _kinds(values: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in values.items()}


def _compare(folder: Path, saved: TrainingState, now: TrainingState) -> list[str]:
    """The allowed changes that are worth a line.

    Raises:
        ValueError: If something differs that changes what the run means, with all that does.
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
        old, new = saved.network.get(name), now.network.get(name)
        if old != new:
            differing.append(f"the network's {name} was {old}, now {new}")
    if saved.total_batch_size != now.total_batch_size:
        differing.append(f"the batch size was {saved.total_batch_size}, now {now.total_batch_size}")
    if saved.data_digest != now.data_digest:
        differing.append("the training images or their labels are others")
    if saved.teacher_digest != now.teacher_digest:
        differing.append("the teacher's weights are others")
    if differing:
        settings = "; ".join(differing)
        raise ValueError(
            f"{folder} belongs to a run with other settings: {settings}. Keep them, or choose another folder."
        )
    return changed
