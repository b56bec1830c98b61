"""Checkpoints: whole or not there, safetensors and JSON only, nothing is ever unpickled."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pokemon_ddpm.training.config import TrainingConfig

MODEL, EMA, OPTIMIZER, STATE = "model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json"
_FOLDER = re.compile(r"checkpoint-(\d+)")


# What may differ between a run and its continuation; everything else would make it another run.
MAY_CHANGE = {
    "cache_dir", "checkpointing_steps", "checkpoints_total_limit", "ddpm_num_inference_steps", "hub_model_id",
    "hub_private_repo", "logging_steps", "max_train_seconds", "max_train_steps", "num_cpu_threads", "num_epochs",
    "output_dir", "overwrite_output_dir", "push_to_hub", "report_to", "resume_from_checkpoint", "save_images_steps",
    "train_batch_size", "gradient_accumulation_steps", "train_data_dir", "pretrained_model_name_or_path",
}  # fmt: skip


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names it and says what to do."""


class OtherRunError(ValueError):
    """A checkpoint belongs to a run with other settings, of which the message names all that differ."""


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands, beside its tensors.

    Attributes:
        step: Updates done.
        total_batch_size: Pictures an update, over all processes and accumulation.
        config: The run's configuration, without the token.
        data_digest: Of the training split's tensors.
        grad_scaler: State of the fp16 loss scaler; empty without one.
    """

    step: int
    total_batch_size: int
    config: dict[str, Any]
    data_digest: str
    grad_scaler: dict[str, Any]


def checkpoints(output_dir: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    found = [path for path in output_dir.glob("checkpoint-*") if _FOLDER.fullmatch(path.name)]
    return sorted(found, key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.split("-")[1])


def save_checkpoint(
    output_dir: Path,
    state: TrainingState,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: EMAModel | None,
    limit: int,
) -> Path:
    """Writes `checkpoint-STEP/` beside its final place, flushes it to disk, renames it, and deletes the oldest.

    Args:
        output_dir: The run's folder.
        state: Goes into state.json.
        model: Its parameters and buffers are saved by name.
        optimizer: Its tensors are saved by parameter number.
        ema: Its averages are saved in the order of the model's parameters.
        limit: How many checkpoints to keep; 0 for all.
    """
    final = output_dir / f"checkpoint-{state.step}"
    partial = output_dir / f".{final.name}.partial"
    for left in output_dir.glob(".checkpoint-*"):  # by a run that was killed while it saved
        shutil.rmtree(left)
    partial.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, partial / MODEL)
    if ema is not None:
        names = [name for name, _ in model.named_parameters()]
        save_file({n: p.contiguous() for n, p in zip(names, ema.shadow_params, strict=True)}, partial / EMA)
    moments = {
        f"{number}.{name}": value.contiguous()
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    save_file(moments, partial / OPTIMIZER)
    (partial / STATE).write_text(json.dumps(asdict(state), indent=2) + "\n")
    for path in [*partial.iterdir(), partial]:
        _flush(path)
    replaced = output_dir / f".{final.name}.replaced"
    if final.exists():
        final.rename(replaced)
    partial.rename(final)
    _flush(output_dir)
    shutil.rmtree(replaced, ignore_errors=True)
    # Later ones, where a run went back to an earlier one, are not counted: this one must be among the kept.
    past = [path for path in checkpoints(output_dir) if _step(path) <= state.step]
    for path in past[:-limit] if limit else []:
        shutil.rmtree(path)
    return final


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder, and needs no flush of one
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_state(folder: Path) -> TrainingState:
    """Reads where a checkpoint's run stood.

    Raises:
        CheckpointError: If that part of the checkpoint is missing or damaged.
    """
    try:
        return TrainingState(**json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder} is not a whole checkpoint ({error}).") from error


def load_tensors(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMAModel | None
) -> None:
    """Restores the tensors that `save_checkpoint` saved, in place.

    Args:
        folder: The checkpoint.
        step: The number of updates that its state tells.
        model: See `save_checkpoint`.
        optimizer: See there.
        ema: See there.

    Raises:
        CheckpointError: If the checkpoint is incomplete, damaged or of another model; nothing is changed then.
    """
    try:
        weights, moments = load_file(folder / MODEL), load_file(folder / OPTIMIZER)
        averages = None if ema is None else load_file(folder / EMA)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder} is not a whole checkpoint ({error}).") from error
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    fits = _shapes(weights) == _shapes(model.state_dict()) and (
        averages is None or _shapes(averages) == _shapes(dict(model.named_parameters()))
    )
    numbered = {str(number): parameter.shape for number, parameter in enumerate(parameters)}
    fits = fits and all(value.shape in ((), numbered.get(key.split(".")[0])) for key, value in moments.items())
    if not fits:
        raise CheckpointError(f"{folder} belongs to another network than the one configured.")
    model.load_state_dict(weights)
    if ema is not None:
        for (name, _), average in zip(model.named_parameters(), ema.shadow_params, strict=True):
            average.data.copy_(averages[name])
        ema.optimization_step = step
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


def _shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def find_checkpoints(output_dir: Path, wanted: str) -> list[Path]:
    """The checkpoints to try, best first.

    Args:
        output_dir: The run's folder.
        wanted: "latest", or the path or name of one checkpoint.

    Raises:
        CheckpointError: If a named checkpoint does not exist.
    """
    if wanted == "latest":
        return checkpoints(output_dir)[::-1]
    for folder in (Path(wanted), output_dir / wanted):
        if folder.is_dir():
            return [folder]
    known = ", ".join(path.name for path in checkpoints(output_dir)) or "none"
    raise CheckpointError(f"--resume_from_checkpoint: there is no {wanted}; {output_dir} holds: {known}.")


def check_unchanged(
    folder: Path, state: TrainingState, config: TrainingConfig, total_batch_size: int, data_digest: str
) -> None:
    """Refuses to go on with another run than the one that was saved.

    Raises:
        OtherRunError: If a setting differs that changes what the run means; names all that do.
    """
    now = config.public()
    differing = [
        f"--{name} was {old}, now {now.get(name)}"
        for name, old in state.config.items()
        if name not in MAY_CHANGE and old != now.get(name)
    ]
    if state.total_batch_size != total_batch_size:
        differing.append(f"pictures an update were {state.total_batch_size}, now {total_batch_size}")
    if state.data_digest != data_digest:
        differing.append("the training pictures or their labels are others")
    if differing:
        raise OtherRunError(f"{folder} belongs to a run with other settings: {'; '.join(differing)}.")
