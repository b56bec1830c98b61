"""Going on with a run: from which checkpoint, and whether it is the same run."""

from collections.abc import Callable
from pathlib import Path

from pokemon_ddpm.training.checkpoint import (
    CheckpointError,
    TrainingState,
    TrainingTensors,
    checkpoints,
    load_state,
    load_tensors,
    recover,
)
from pokemon_ddpm.training.config import TrainingConfig, as_text

# What may differ between a run and its continuation; everything else would make it another run.
MAY_CHANGE = {
    "cache_dir", "checkpointing_steps", "checkpoints_total_limit", "compile", "ddpm_num_inference_steps",
    "deterministic", "eval_steps", "gradient_accumulation_steps", "hub_model_id", "hub_private_repo", "hub_strategy",
    "load_best_model_at_end", "logging_steps", "max_bad_steps", "max_train_seconds", "max_train_steps",
    "metric_for_best_model", "model_config_name_or_path", "num_cpu_threads", "num_epochs", "num_eval_images",
    "output_dir", "overwrite_output_dir", "pretrained_model_name_or_path", "push_to_hub", "report_to",
    "resume_from_checkpoint", "save_images_steps", "train_batch_size", "train_data_dir", "validation_steps",
}  # fmt: skip


class OtherRunError(ValueError):
    """A checkpoint belongs to a run with other settings, of which the message names all that differ."""


def find_checkpoints(output_dir: Path, wanted: str) -> list[Path]:
    """The checkpoints to try, best first.

    Args:
        output_dir: The run's folder.
        wanted: "latest", or the path or name of one checkpoint.

    Raises:
        CheckpointError: If a named checkpoint does not exist.
    """
    recover(output_dir)
    if wanted == "latest":
        return checkpoints(output_dir)[::-1]
    for folder in (output_dir / wanted, Path(wanted)):
        if folder.is_dir():
            return [folder]
    known = ", ".join(path.name for path in checkpoints(output_dir)) or "none"
    raise CheckpointError(f"--resume_from_checkpoint: there is no {wanted}; {output_dir} holds: {known}.")


def check_unchanged(folder: Path, saved: TrainingState, now: TrainingState) -> None:
    """Refuses to go on with another run than the one that was saved.

    Raises:
        OtherRunError: If a setting differs that changes what the run means; names all that do.
    """
    before = {**TrainingConfig().public(), **saved.config}  # of a flag that is newer than the checkpoint its default
    differing = [
        f"--{name} was {as_text(old)}, now {as_text(now.config.get(name))}"
        for name, old in before.items()
        if name not in MAY_CHANGE and old != now.config.get(name)
    ]
    differing += [
        f"the network's {name} was {saved.network.get(name)}, now {now.network.get(name)}"
        for name in sorted(saved.network.keys() | now.network.keys())
        if saved.network.get(name) != now.network.get(name)
    ]
    if saved.total_batch_size != now.total_batch_size:
        differing.append(f"pictures an update were {saved.total_batch_size}, now {now.total_batch_size}")
    if saved.data_digest != now.data_digest:
        differing.append("the training pictures or their labels are others")
    if saved.teacher_digest != now.teacher_digest:
        differing.append("the teacher's weights are others")
    if differing:
        raise OtherRunError(f"{folder} belongs to a run with other settings: {'; '.join(differing)}.")


def restore(
    output_dir: Path,
    wanted: str,
    now: TrainingState,
    tensors: TrainingTensors,
    say: Callable[[str], None],
) -> tuple[Path, TrainingState] | None:
    """Restores the first checkpoint that is whole, of those to try, and says which are not.

    Args:
        output_dir: See `find_checkpoints`.
        wanted: See there.
        now: The run that is to go on, see `check_unchanged`.
        tensors: Where the checkpoint's go.
        say: Tells people.

    Returns:
        The checkpoint and its state; None if there is none to try.

    Raises:
        CheckpointError: If none is whole.
        OtherRunError: If the first whole one belongs to another run.
    """
    found = find_checkpoints(output_dir, wanted)
    for folder in found:
        try:
            state = load_state(folder)
            check_unchanged(folder, state, now)
            load_tensors(folder, state, tensors)
            return folder, state
        except CheckpointError as error:
            if folder == found[-1]:
                raise
            say(f"{error} Trying the one before.")
    return None
