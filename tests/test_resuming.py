"""Resuming: a run that was stopped is the run that never was, to the bit; and what resuming passes over or refuses."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.training import checkpoint
from tests.small_archives import PICTURES, sprite, write
from tests.training_runs import (
    AUGMENTED,
    BY_LOSS,
    TINY_NETWORK,
    assert_same_checkpoint,
    full_disk,
    manifest,
    tiny_flags,
    train,
    trainer,
)

UPDATES = 5
LATEST = "--resume_from_checkpoint=latest"


@pytest.fixture
def flags(tmp_path: Path, small: Path, cache: Path) -> list[str]:
    """A run of five updates, of which `run` in tmp_path is the output folder, with a checkpoint of each.

    There are four training pictures, so a batch is more than an epoch: all stops are inside an epoch.
    """
    return [
        *tiny_flags(tmp_path, cache),
        f"--train_data_dir={small}",
        "--dataset_config_name=all",
        f"--max_train_steps={UPDATES}",
        "--checkpointing_steps=1",
        "--checkpoints_total_limit=0",
        "--validation_steps=0",
    ]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def names(run: Path) -> list[str]:
    """All that there is of checkpoints, finished or not."""
    return sorted(path.name for path in run.iterdir() if "checkpoint-" in path.name)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def advance(flags: Sequence[str], **replaced: object) -> None:
    """Trains without making a pipeline at the end."""
    with trainer(flags, **replaced) as run:
        run.train()


# Exactness; all with dropout


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(["--mixed_precision=no"], id="fp32"),
        pytest.param(["--mixed_precision=bf16", "--no_use_ema"], id="bf16 without an average"),
        pytest.param([*AUGMENTED, "--train_batch_size=4", "--gradient_accumulation_steps=2"], id="augmented"),
        pytest.param(
            [*AUGMENTED, "--train_batch_size=4", "--gradient_accumulation_steps=2", "--mixed_precision=bf16"],
            id="augmented in bf16",
        ),
    ],
)
def test_stopped_after_every_update(flags: list[str], tmp_path: Path, variant: list[str]) -> None:
    flags = [*flags, *variant]
    unbroken, stopped = tmp_path / "unbroken", tmp_path / "stopped"
    advance([*flags, f"--output_dir={unbroken}"])
    for step in range(1, UPDATES + 1):
        advance([*flags, f"--output_dir={stopped}", LATEST, "--max_train_seconds=1e-9"])
        assert names(stopped)[-1] == f"checkpoint-{step}"
        assert_same_checkpoint(stopped / f"checkpoint-{step}", unbroken / f"checkpoint-{step}")


def test_timesteps_drawn_by_their_losses(flags: list[str], tmp_path: Path) -> None:
    """The history of losses is part of the run, before it is used and once it is."""
    flags = [*flags, *BY_LOSS, "--ddpm_num_steps=4", "--variance_type=learned_range", "--train_batch_size=24"]
    unbroken, stopped = tmp_path / "unbroken", tmp_path / "stopped"
    advance([*flags, f"--output_dir={unbroken}"])
    used = load_file(unbroken / f"checkpoint-{UPDATES - 2}" / "timesteps.safetensors")["recorded"] >= 10
    assert used.all()  # so two updates draw by it
    for step in range(1, UPDATES + 1):
        advance([*flags, f"--output_dir={stopped}", LATEST, "--max_train_seconds=1e-9"])
        assert_same_checkpoint(stopped / f"checkpoint-{step}", unbroken / f"checkpoint-{step}")


def test_going_back_to_a_named_checkpoint(
    flags: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*flags, "--validation_steps=2"]
    train(flags)
    unbroken = shutil.copytree(run, tmp_path / "unbroken")
    shutil.rmtree(run / "checkpoint-4")
    (run / "checkpoint-5" / "ema.safetensors").unlink()
    capsys.readouterr()
    train([*flags, "--resume_from_checkpoint=checkpoint-2"])
    assert f"Going on from {run / 'checkpoint-2'}." in capsys.readouterr().out
    assert names(run) == names(unbroken)
    for name in names(run):
        assert_same_checkpoint(run / name, unbroken / name)


# Checkpoints that are not whole


def truncated(folder: Path) -> None:
    file = folder / "optimizer.safetensors"
    os.truncate(file, file.stat().st_size - 1)


def edited(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"skipped_updates": 0', '"skipped_updates": 1'))


def exchanged(folder: Path) -> None:
    shutil.copyfile(folder.parent / "checkpoint-2" / "ema.safetensors", folder / "ema.safetensors")


def of_another_program(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    (folder / "random_states_0.pkl").write_bytes(b"")


def of_another_version(folder: Path) -> None:
    content = manifest(folder)
    del content["sha256"], content["state"]["skipped_updates"]
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({**content, "sha256": checksum}))


NOT_WHOLE = "is not a whole checkpoint"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, NOT_WHOLE),
        (edited, NOT_WHOLE),
        (exchanged, NOT_WHOLE),
        (of_another_program, NOT_WHOLE),
        (of_another_version, "was written by another version of this project"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_named_and_the_one_before_is_taken(
    flags: list[str],
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    said: str,
) -> None:
    flags = [*flags, "--max_train_steps=3"]
    advance(flags)
    unbroken = shutil.copytree(run, tmp_path / "unbroken")
    damage(run / "checkpoint-3")
    advance([*flags, LATEST])
    output = capsys.readouterr().out
    assert f"{run / 'checkpoint-3'} {said}" in output and f"Going on from {run / 'checkpoint-2'}." in output
    assert_same_checkpoint(run / "checkpoint-3", unbroken / "checkpoint-3")


def test_where_none_is_whole_nothing_is_trained(
    flags: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train([*flags, "--max_train_steps=2"])
    for name in names(run):
        truncated(run / name)
    before = contents(run)
    with pytest.raises(SystemExit, match=f"^error: {run / 'checkpoint-1'} is not a whole checkpoint") as stop:
        train([*flags, LATEST])
    assert len(str(stop.value).splitlines()) == 1
    assert f"{run / 'checkpoint-2'} is not a whole checkpoint" in capsys.readouterr().out
    assert contents(run) == before


def test_a_named_checkpoint_that_is_not_whole_is_not_replaced_by_another(flags: list[str], run: Path) -> None:
    train([*flags, "--max_train_steps=2"])
    truncated(run / "checkpoint-2")
    with pytest.raises(SystemExit, match=f"^error: {run / 'checkpoint-2'} is not a whole checkpoint"):
        train([*flags, "--resume_from_checkpoint=checkpoint-2"])


def test_latest_without_a_checkpoint_starts_from_the_beginning(
    flags: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train([*flags, LATEST])
    assert "starting from the beginning" in capsys.readouterr().out
    assert (run / f"checkpoint-{UPDATES}").is_dir()


# Other settings


def test_settings_that_make_it_another_run_are_refused_and_all_named(
    flags: list[str], run: Path, small: Path, tmp_path: Path
) -> None:
    other_data = shutil.copytree(small, tmp_path / "other")
    for shade, name in enumerate(PICTURES):
        write(other_data, name, sprite(100 + shade))
    train([*flags, "--max_train_steps=2"])
    before = contents(run)
    changed = {
        "learning_rate": ("0.0006", "0.001"),
        "seed": ("0", "1"),
        "prediction_type": ("v_prediction", "epsilon"),
        "variance_type": ("fixed_small", "fixed_large"),
        "mixed_precision": ("no", "bf16"),
        "hue_prob": ("0.0", "0.5"),
        "ema_decay": ("0.999", "0.99"),
    }
    other = [f"--{name}={now}" for name, (_, now) in changed.items()]
    other += [f"--train_data_dir={other_data}", "--train_batch_size=4"]
    with pytest.raises(SystemExit) as stop:
        train([*flags, LATEST, *other, "--logging_steps=7", "--max_train_steps=9"])
    said = str(stop.value)
    assert said.startswith(f"error: {run / 'checkpoint-2'} belongs to a run with other settings: ")
    for name, (was, now) in changed.items():
        assert f"--{name} was {was}, now {now}" in said
    assert "pictures an update were 8, now 4" in said and "the training pictures or their labels are others" in said
    assert said.count(";") == len(changed) + 1  # and nothing else
    assert contents(run) == before


def test_another_network_of_the_same_form_is_refused(flags: list[str], tmp_path: Path) -> None:
    """The tensors fit, but what is computed with them would be something else."""
    train([*flags, "--max_train_steps=2"])
    (tmp_path / "tiny.json").write_text(json.dumps({**TINY_NETWORK, "dropout": 0.5, "act_fn": "relu"}))
    with pytest.raises(SystemExit, match="^error: "):
        train([*flags, LATEST])


def test_what_does_not_change_the_run_may_be_changed(flags: list[str], run: Path, tmp_path: Path, small: Path) -> None:
    advance(flags)
    unbroken = run.rename(tmp_path / "unbroken")
    advance([*flags, LATEST, "--max_train_seconds=1e-9"])
    moved = shutil.copytree(small, tmp_path / "moved")
    train(
        [
            *flags, LATEST, f"--train_data_dir={moved}", f"--cache_dir={tmp_path / 'other'}", "--logging_steps=3",
            "--checkpointing_steps=2", "--checkpoints_total_limit=1", "--validation_steps=3", "--save_images_steps=3",
            "--ddpm_num_inference_steps=1", "--max_bad_steps=0", "--report_to=tensorboard",
            "--metric_for_best_model=none", "--max_train_seconds=600",
        ]
    )  # fmt: skip
    assert names(run) == ["checkpoint-5"]
    one, other = (load_file(each / "checkpoint-5" / "ema.safetensors") for each in (run, unbroken))
    assert one.keys() == other.keys() and all(tensor.equal(other[name]) for name, tensor in one.items())


def test_an_update_may_be_divided_otherwise(flags: list[str], run: Path) -> None:
    advance([*flags, "--max_train_seconds=1e-9"])
    advance([*flags, LATEST, "--train_batch_size=2", "--gradient_accumulation_steps=4"])
    assert names(run)[-1] == f"checkpoint-{UPDATES}"


def test_fewer_updates_than_done_are_refused(flags: list[str]) -> None:
    train(flags)
    with pytest.raises(SystemExit, match="has more updates than --max_train_steps or --num_epochs ask for, 3"):
        train([*flags, LATEST, "--max_train_steps=3"])


# What is kept


class Prescribed:
    """Measures what it is told to."""

    def __init__(self, *losses: float):
        self.losses = list(losses)

    def loss(self, *_: object) -> float:
        return self.losses.pop(0)


def test_the_newest_checkpoints_are_kept_and_the_best_of_all_lives(flags: list[str], run: Path) -> None:
    flags = [*flags, "--checkpoints_total_limit=2", "--validation_steps=1"]
    first, second = Prescribed(0.1, 0.5), Prescribed(0.4, 0.2, 0.3)
    advance([*flags, "--max_train_steps=2"], make_probes=lambda *_: {"validation_loss": first})
    advance([*flags, LATEST], make_probes=lambda *_: {"validation_loss": second})
    assert names(run) == ["checkpoint-1", "checkpoint-4", "checkpoint-5"]


@contextlib.contextmanager
def disk_full_at(*steps: int) -> Iterator[None]:
    """Lets the saving of these steps' checkpoints find a full disk."""
    save = checkpoint.save_checkpoint

    def save_or_fail(output_dir: Path, state: checkpoint.TrainingState, *rest: object) -> Path:
        with full_disk() if state.step in steps else contextlib.nullcontext():
            return save(output_dir, state, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save_checkpoint", save_or_fail)
        yield


def test_a_full_disk_costs_a_checkpoint_but_not_the_run(
    flags: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train([*flags, f"--output_dir={tmp_path / 'unbroken'}"])
    with disk_full_at(2):
        train(flags)
    said = capsys.readouterr().out
    warning = f"warning: {re.escape(str(run / 'checkpoint-2'))} could not be written .*File too large.*The run goes on"
    assert re.search(warning, said)
    assert names(run) == ["checkpoint-1", "checkpoint-3", "checkpoint-4", "checkpoint-5"]
    assert_same_checkpoint(run / "checkpoint-5", tmp_path / "unbroken" / "checkpoint-5")


def test_a_disk_that_stays_full_is_an_error_in_the_end(flags: list[str], run: Path, tmp_path: Path) -> None:
    flags = [*flags, "--checkpoints_total_limit=1"]
    with disk_full_at(3, 4, 5), pytest.raises(SystemExit, match="^error: There is no checkpoint of update 5; "):
        train(flags)
    assert names(run) == ["checkpoint-2"]
    PokemonDDPMPipeline.from_pretrained(run)  # the model could be written, here
    train([*flags, f"--output_dir={tmp_path / 'unbroken'}"])
    train([*flags, LATEST])
    assert_same_checkpoint(run / "checkpoint-5", tmp_path / "unbroken" / "checkpoint-5")


def test_a_disk_too_full_for_the_model_is_told_in_a_sentence(flags: list[str], run: Path) -> None:
    advance([*flags, "--max_train_seconds=1e-9"])
    with full_disk(10_000), pytest.raises(SystemExit) as stop:
        train([*flags, LATEST])
    said = str(stop.value)
    assert said.startswith("error: ") and str(run) in said and "File too large" in said
    assert names(run) == ["checkpoint-1"]


def test_a_disk_too_full_for_a_sheet_costs_the_sheet(
    flags: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(pipeline: PokemonDDPMPipeline, path: Path, *_: object) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    train([*flags, "--save_images_steps=2"], save_sheet=full)
    said = capsys.readouterr().out
    assert "step-000002.png could not be written (No space left on device). The run goes on." in said
    assert not list((run / "samples").iterdir())
    assert names(run)[-1] == f"checkpoint-{UPDATES}"


def test_a_tracker_that_fails_does_not_end_the_run(
    flags: list[str], run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("accelerate.tracking.TensorBoardTracker.log", fail)
    monkeypatch.setattr("accelerate.tracking.TensorBoardTracker.finish", fail)
    train([*flags, "--report_to=tensorboard"])
    assert capsys.readouterr().out.count("warning: --report_to tensorboard failed") == 1
    assert names(run)[-1] == f"checkpoint-{UPDATES}"


# Folders


def test_a_checkpoint_of_another_run_is_not_mixed_into_a_run(flags: list[str], run: Path, tmp_path: Path) -> None:
    advance([*flags, "--max_train_steps=1"])
    advance([*flags, f"--output_dir={tmp_path / 'other'}"])
    before = contents(run)
    with pytest.raises(SystemExit, match="already holds a run, and .* is of another; choose another --output_dir"):
        train([*flags, f"--resume_from_checkpoint={tmp_path / 'other' / 'checkpoint-2'}"])
    assert contents(run) == before


def test_a_model_without_checkpoints_is_not_overwritten(flags: list[str], run: Path) -> None:
    train([*flags, "--max_train_steps=1"])
    shutil.rmtree(run / "checkpoint-1")
    before = contents(run)
    with pytest.raises(SystemExit, match="holds a model but no checkpoint to go on from"):
        train([*flags, LATEST])
    assert contents(run) == before


def test_killed_between_two_renames_the_checkpoint_is_still_there(flags: list[str], run: Path, tmp_path: Path) -> None:
    advance([*flags, "--max_train_steps=2"])
    unbroken = shutil.copytree(run / "checkpoint-2", tmp_path / "checkpoint-2")
    (run / "checkpoint-2").rename(run / ".checkpoint-2.replaced")
    shutil.copytree(unbroken, run / ".checkpoint-2.partial")
    advance([*flags, LATEST, "--max_train_seconds=1e-9"])
    assert names(run) == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]
    assert_same_checkpoint(run / "checkpoint-2", unbroken)


def test_a_longer_run_says_what_becomes_of_the_learning_rate(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    advance([*flags, "--max_train_seconds=1e-9"])
    advance([*flags, LATEST, "--max_train_seconds=1e-9"])
    assert "learning rate follows" not in capsys.readouterr().out
    advance([*flags, LATEST, "--max_train_steps=9", "--max_train_seconds=1e-9"])
    assert "learning rate follows the cosine course of a run of 9 updates" in capsys.readouterr().out
