"""Checkpoints: complete or not there, safetensors and JSON only. Nothing is unpickled."""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
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
            files[EMA] = dict(zip(dict(self.model.named_parameters()), self.ema.shadow_params, strict=True))
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
        _check_tensors(folder, saved, own)
        for name in own.keys() - {OPTIMIZER}:
            for key, tensor in own[name].items():
                tensor.data.copy_(saved[name][key])
        if self.ema is not None:
            self.ema.optimization_step = step
        restored = self.optimizer.state_dict()
        for key, value in saved[OPTIMIZER].items():
            number, name = key.split(".", 1)
            # A copy, since loaded tensors are mapped from the file, which may be deleted, and in the memory layout of
            # the parameter, which fused kernels need.
            value = torch.empty_like(own[OPTIMIZER][key], dtype=value.dtype).copy_(value)
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


def _check_tensors(folder: Path, saved: dict[str, dict], own: dict[str, dict]) -> None:
    """Raises CheckpointError unless the files have the tensors of the run, by name, shape and dtype."""
    for name, tensors in own.items():
        kinds = [{key: (value.shape, value.dtype) for key, value in each.items()} for each in (saved[name], tensors)]
        if kinds[0] != kinds[1]:
            raise CheckpointError(f"{folder} belongs to another network than the one configured.")


def checkpoints(output_dir: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    found = [path for path in output_dir.glob("checkpoint-*") if path.is_dir()]
    return sorted((path for path in found if re.fullmatch(r"checkpoint-\d{1,18}", path.name)), key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.split("-")[1])


def best_checkpoint(output_dir: Path) -> Path | None:
    """The checkpoint with the lowest validation loss; None if it was never measured."""
    measured = {}
    for folder in checkpoints(output_dir):
        with contextlib.suppress(CheckpointError):
            measured[folder] = load_state(folder).metrics.get("validation_loss", math.nan)
    return min(filter(lambda folder: math.isfinite(measured[folder]), measured), key=measured.get, default=None)


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


def save_checkpoint(output_dir: Path, state: TrainingState, tensors: TrainingTensors, limit: int) -> None:
    """Writes `checkpoint-STEP/`: beside, flushed, then renamed. Then deletes later and the oldest ones.

    Args:
        limit: Number of newest checkpoints to keep beside the best one; 0 for all.

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
        _delete_checkpoints(_later(output_dir, state.step))  # which the run went back from
        best = best_checkpoint(output_dir)
        _delete_checkpoints(path for path in checkpoints(output_dir)[:-limit] if path != best)  # none for a limit of 0


def _later(output_dir: Path, step: int) -> list[Path]:
    return [path for path in checkpoints(output_dir) if _step(path) > step]


def _delete_checkpoints(paths: Iterable[Path]) -> None:
    for path in paths:  # renamed first, so that an interruption leaves no incomplete one
        delete(path.rename(path.with_name(f".{path.name}.deleted")))


def _write(folder: Path, state: TrainingState, tensors: TrainingTensors) -> None:
    """The manifest has the state, and checksums of the files and of itself."""
    folder.mkdir(parents=True)
    for name, of_file in tensors.files().items():
        write_file(folder / name, save({key: tensor.contiguous() for key, tensor in of_file.items()}))
    files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    manifest = {"state": dataclasses.asdict(state), "files": files}
    manifest["sha256"] = _checksum(manifest)
    write_file(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    _flush(folder)


def _checksum(manifest: dict[str, Any]) -> str:
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _flush(folder: Path) -> None:
    if os.name != "nt":  # Windows cannot open a folder
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def load_state(folder: Path) -> TrainingState:
    """The state of a checkpoint; for the errors see `_load_manifest`."""
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
    own = {MODEL: model.state_dict()} | ({EMA: dict(model.named_parameters())} if EMA in files else {})
    saved = _load_tensors(folder, own)
    _check_tensors(folder, saved, own)
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
        if later := [path.name for path in _later(output_dir, state.step)]:
            report(f"The next checkpoint replaces {', '.join(later)}.")
        report(f"Resuming from {folder}.")
        return state
    report(f"{output_dir} has no checkpoint yet; starting from the beginning.")
    return now


def _kinds(values: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in values.items()}


def _described(state: TrainingState) -> dict[str, Any]:
    """What is compared between a checkpoint and the run that resumes, by its name in messages."""
    # A flag that is newer than the checkpoint had its default.
    flags = {
        f"--{each.name}": state.config.get(each.name, each.default) for each in dataclasses.fields(TrainingConfig)
    }
    network = {f"the network's {name}": value for name, value in state.network.items()}
    checksums = {"training images and labels": state.data_digest, "teacher's weights": state.teacher_digest}
    checksums = {f"the checksum of the {name}": digest[:16] for name, digest in checksums.items()}
    return {**flags, "the batch size": state.total_batch_size, **checksums, **network}


def _compare(folder: Path, saved: TrainingState, now: TrainingState) -> list[str]:
    """The allowed changes that are worth a line.

    Raises:
        ValueError: If something differs that changes what the run means, with all that does.
    """
    policy = {f"--{field.name}": field.metadata.get("resume") for field in dataclasses.fields(TrainingConfig)}
    before, after = _described(saved), _described(now)
    changed = {
        name: f"{name} was {as_text(before.get(name))}, now {as_text(after.get(name))}"
        for name in [*before, *sorted(after.keys() - before.keys())]
        if before.get(name) != after.get(name) and policy.get(name) != "yes"
    }
    if refused := "; ".join(text for name, text in changed.items() if policy.get(name) != "say"):
        raise ValueError(
            f"{folder} belongs to a run with other settings: {refused}. Keep them, or choose another folder."
        )
    return list(changed.values())
