"""Checkpoints: complete or not there, safetensors and JSON only. Nothing is unpickled."""

import contextlib
import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from diffusers.training_utils import EMAModel
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from pokemon_ddpm.files import write_file
from pokemon_ddpm.pipelines.file_checks import MAX_BYTES, read_file
from pokemon_ddpm.training.config import TrainingConfig, as_text

MODEL, EMA, OPTIMIZER = (f"{name}.safetensors" for name in ("model", "ema", "optimizer"))
MANIFEST = "manifest.json"

Scalar = bool | int | float | str | None


class DamagedCheckpoint(ValueError):
    """A file of a checkpoint is missing, damaged or of another version."""


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    """One message for everything that can be wrong with a checkpoint's file."""
    damage = (OSError, ValueError, LookupError, TypeError, RecursionError)
    try:
        yield
    except (*damage, SafetensorError, StrictDataclassError) as error:
        reason = _shown(" ".join(str(error).split()))
        raise DamagedCheckpoint(f"{file} is damaged, or was written by another version ({reason}).") from error


def _shown(value: object) -> str:
    return "".join(filter(str.isprintable, str(as_text(value))))[:200]


@strict
@dataclasses.dataclass
class TrainingState:
    """The state of a run beside its tensors; raises StrictDataclassError if a value is not of its type or range."""

    step: int  # updates done
    total_batch_size: int  # images of an update, over all processes and accumulation
    config: dict[str, Scalar | list[Scalar]]  # `TrainingConfig` as a dictionary
    network: dict[str, Scalar | list[Scalar]]  # configuration of the `UNet2DModel`
    data_digest: str  # of the training split
    metrics: dict[str, float]  # measured at this step
    skipped_updates: int  # that were not finite, so far
    grad_scaler: dict[str, int | float]  # state of the fp16 loss scaler
    teacher_digest: str  # of its weights

    def validate_values(self) -> None:
        if self.step < 0 or not all(map(str.isidentifier, self.metrics)):  # these are printed
            raise ValueError("a step or the name of a metric is not possible")


@dataclasses.dataclass(frozen=True)
class TrainingTensors:
    """All tensors of a run: by name, but those of the optimizer by the number of the parameter."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: EMAModel | None = None

    def files(self) -> dict[str, dict[str, torch.Tensor]]:
        """File name -> its tensors by name."""
        state = self.optimizer.state_dict()["state"]
        moments = {f"{number}.{name}": value for number, values in state.items() for name, value in values.items()}
        files = {MODEL: dict(self.model.state_dict()), OPTIMIZER: moments}
        if self.ema is not None:
            files[EMA] = dict(zip(dict(self.model.named_parameters()), self.ema.shadow_params, strict=True))
        return files

    def load(self, folder: Path, checksums: dict[str, str], step: int) -> None:
        """Restores a checkpoint in place; ValueError, with nothing changed, if it is damaged or does not fit."""
        own, saved = self.files() | {OPTIMIZER: self._moments()}, {}
        for name, expected in own.items():
            with _named(folder / name):
                limit = MAX_BYTES + sum(tensor.nbytes for tensor in expected.values())
                content = read_file(folder / name, folder, limit)
                if hashlib.sha256(content).hexdigest() != checksums[name]:
                    raise ValueError("was changed")
                saved[name] = load(content)
            reason = "does not belong to the configured network"
            if name == OPTIMIZER:
                # It has no state of parameters without a gradient.
                numbers = {key.split(".")[0] for key in saved[name]}
                expected = {key: tensor for key, tensor in expected.items() if key.split(".")[0] in numbers}
                # The order of the parameters depends on which tables were new.
                reason = "began with other weights: resume with the first --pretrained_model_name_or_path"
            files = (saved[name], expected)
            there, needed = ({key: (tensor.shape, tensor.dtype) for key, tensor in file.items()} for file in files)
            if there != needed or not is_finite(saved[name].values()):
                raise ValueError(f"{folder} {reason}.")
        for name in own.keys() - {OPTIMIZER}:
            for key, tensor in own[name].items():
                tensor.data.copy_(saved[name][key])
        if self.ema is not None:
            self.ema.optimization_step = step
        restored = self.optimizer.state_dict()
        for key, value in saved[OPTIMIZER].items():  # in the memory layout of the parameter, which fused kernels need
            number, name = key.split(".")
            value = torch.empty_like(own[OPTIMIZER][key]).copy_(value)
            restored["state"].setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict(restored)

    def _moments(self) -> dict[str, torch.Tensor]:
        """By name, tensors of the shapes of the optimizer's state."""
        groups, moments = self.optimizer.param_groups, {}
        parameters = [(parameter, group.get("orthogonal")) for group in groups for parameter in group["params"]]
        for number, (parameter, orthogonal) in enumerate(parameters):
            names = ["momentum"] if orthogonal else ["exp_avg", "exp_avg_sq"]
            moments |= {f"{number}.step": torch.zeros(())} | {f"{number}.{name}": parameter for name in names}
        return moments


def checkpoints(output_dir: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    folders = [path for path in output_dir.glob("checkpoint-*") if path.is_dir()]
    return sorted((path for path in folders if re.fullmatch(r"checkpoint-\d{1,18}", path.name)), key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.split("-")[1])


def delete(path: Path) -> None:
    """Deletes a folder, a file or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def save_checkpoint(output_dir: Path, state: TrainingState, tensors: TrainingTensors, limit: int) -> None:
    """Writes `checkpoint-STEP/` under another name, then renames it; keeps the `limit` newest ones, for 0 all.

    Raises ValueError if it cannot be written, for example on a full disk; all earlier ones are unchanged then.
    """
    final = output_dir / f"checkpoint-{state.step}"
    partial = output_dir / f".{final.name}.partial"
    try:
        for left in output_dir.glob(".checkpoint-*"):  # by a run that was killed
            delete(left)
        partial.mkdir(parents=True)
        checksums = {}
        for name, of_file in tensors.files().items():
            content = save({key: tensor.contiguous() for key, tensor in of_file.items()})
            write_file(partial / name, content)
            checksums[name] = hashlib.sha256(content).hexdigest()
        manifest = {"state": dataclasses.asdict(state), "files": checksums}
        write_file(partial / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        _delete_checkpoints(later(output_dir, state.step - 1))  # The run went back from these.
        partial.rename(final)
        _delete_checkpoints(checkpoints(output_dir)[:-limit])  # none for a limit of 0
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ValueError(f"{final} could not be written ({error.strerror or error}).") from error


def later(output_dir: Path, step: int) -> list[Path]:
    """The checkpoints after a step."""
    return [path for path in checkpoints(output_dir) if _step(path) > step]


def _delete_checkpoints(paths: Iterable[Path]) -> None:
    for path in paths:  # renamed first, so that an interruption leaves no incomplete one
        delete(path.rename(path.with_name(f".{path.name}.deleted")))


def is_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether no tensor has NaN or infinity; waits for the device."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def find_checkpoints(output_dir: Path, name: str) -> list[Path]:
    """The run's checkpoint of this path or name, else ValueError is raised; for "latest" all, newest first."""
    known = checkpoints(output_dir)
    chosen = [path for path in known if name == "latest" or Path(name) in (path, Path(path.name))]
    if not chosen and name != "latest":
        names = ", ".join(path.name for path in known) or "none"
        raise ValueError(f"--resume_from_checkpoint: there is no {name}; checkpoints in {output_dir}: {names}.")
    return chosen[::-1]


def restore(folder: Path, now: TrainingState, tensors: TrainingTensors) -> TrainingState:
    """Restores a checkpoint for a run that resumes with the state `now`, and returns the state of the checkpoint.

    Raises ValueError if the checkpoint is damaged or of another run; nothing is changed then.
    """
    with _named(folder / MANIFEST):
        manifest = json.loads(read_file(folder / MANIFEST, folder))
        state, checksums = TrainingState(**manifest["state"]), dict(manifest["files"])
    _check_same_run(folder, state, now)
    tensors.load(folder, checksums, state.step)
    return state


def restore_first(
    folders: Sequence[Path], now: TrainingState, tensors: TrainingTensors, warn: Callable[[str], None]
) -> tuple[Path, TrainingState]:
    """Restores the first checkpoint that is not damaged, see `restore`, with a warning of each one before."""
    *newer, oldest = folders
    for folder in newer:
        try:
            return folder, restore(folder, now, tensors)
        except DamagedCheckpoint as error:
            warn(f"warning: {error} Trying the one before.")
    return oldest, restore(oldest, now, tensors)


def _check_same_run(folder: Path, saved: TrainingState, now: TrainingState) -> None:
    """Raises ValueError if something differs that changes what the run means, with all that does."""
    fixed = [field.name for field in dataclasses.fields(TrainingConfig) if not field.metadata.get("resume")]
    before, after = (
        {
            **{f"--{name}": state.config.get(name) for name in fixed},
            "the batch size": state.total_batch_size,
            "the checksum of the training images and labels": state.data_digest[:16],
            "the checksum of the weights of its teacher or guides": state.teacher_digest[:16],
            **{f"the network's {name}": state.network.get(name) for name in [*saved.network, *now.network]},
        }
        for state in (saved, now)
    )
    changed = [name for name, value in before.items() if value != after[name]]
    if changed:
        lines = [f"{_shown(name)} was {_shown(before[name])}, now {_shown(after[name])}" for name in changed]
        hint = "Keep them, or choose another folder."
        raise ValueError(f"{folder} belongs to a run with other settings: {'; '.join(lines)}. {hint}")
