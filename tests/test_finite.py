"""Updates that are not finite: they leave no trace, are counted, and end the run when there are too many."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pokemon_ddpm.training.finite import DivergedError
from tests.training_runs import AUGMENTED, BY_LOSS, logged, manifest, poisoned, tiny_flags, train, trainer

WAYS = {
    "plain": [],
    "bf16": ["--mixed_precision=bf16"],
    "accumulated": ["--gradient_accumulation_steps=2"],
    "everything": ["--variance_type=learned_range", *BY_LOSS, *AUGMENTED],
}


@pytest.fixture
def flags(small: Path, cache: Path, tmp_path: Path) -> list[str]:
    """A run of four updates, of which `run` in tmp_path is the output folder."""
    return [*tiny_flags(tmp_path, cache), f"--train_data_dir={small}", "--validation_steps=0"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def copied(run: Any, *files: str) -> dict[str, torch.Tensor]:
    """Copies of a run's tensors, of all of its files or of some."""
    return {
        f"{file}: {name}": tensor.clone()
        for file, of_file in run.tensors.files().items()
        if not files or file.split(".")[0] in files
        for name, tensor in of_file.items()
    }


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("way", WAYS)
def test_a_bad_update_leaves_weights_and_moments_exactly_as_they_were(flags: list[str], way: str) -> None:
    with trainer([*flags, *WAYS[way]], draw_batch=poisoned(2)) as run:
        run.train_step(), run.train_step()
        before = copied(run, "model", "optimizer")
        loss, grad_norm = run.train_step()
        assert not loss.isfinite() and not grad_norm.isfinite()
        assert differing(copied(run, "model", "optimizer"), before) == []
        run.train_step()
        after = copied(run)
    assert len(differing({name: after[name] for name in before}, before)) > 0.9 * len(before)
    assert all(tensor.isfinite().all() for tensor in after.values())


def test_a_bad_first_update_leaves_weights_and_no_moments(flags: list[str]) -> None:
    with trainer(flags, draw_batch=poisoned(0)) as run:
        before = copied(run, "model")
        run.train_step()
        assert differing(copied(run, "model"), before) == []
        moments = copied(run, "optimizer")
    assert moments and not any(tensor.any() for tensor in moments.values())


def losing_the_update(run: Any, step: int) -> Callable[..., None]:
    """The optimizer's own step, but not at one of the run's."""
    update = run.optimizer.optimizer.step
    return lambda *arguments: None if run.step == step else update(*arguments)


def test_a_run_goes_on_as_if_the_bad_update_had_been_left_out(flags: list[str]) -> None:
    """The batch itself leaves nothing behind: the run it is compared with never saw the NaN."""
    ended = []
    for bad in (True, False):
        with trainer([*flags, "--max_train_steps=5"], draw_batch=poisoned(*[2] * bad)) as run:
            if not bad:
                run.optimizer.optimizer.step = losing_the_update(run, 2)
            for _ in range(5):
                run.train_step()
            ended.append(copied(run))
    assert differing(*ended) == []


def test_a_bad_picture_is_not_remembered_for_the_timesteps(flags: list[str]) -> None:
    with trainer([*flags, *BY_LOSS], draw_batch=poisoned(1)) as run:
        run.train_step(), run.train_step()
        assert run.history.recorded.sum() == 15  # of two batches of 8
        assert run.history.losses.isfinite().all()


def test_bad_updates_are_counted_in_the_log_and_the_manifest(
    flags: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train([*flags, "--report_to=tensorboard", "--checkpointing_steps=2"], draw_batch=poisoned(1, 2))
    assert logged(run, "skipped_updates") == [0, 1, 2, 2]
    lines = [line for line in capsys.readouterr().out.splitlines() if "images/s" in line]
    assert [line.partition("skipped ")[2] for line in lines] == ["", "1", "2", "2"]
    assert [manifest(run / f"checkpoint-{step}")["state"]["skipped_updates"] for step in (2, 4)] == [1, 2]


def test_the_logged_means_are_of_the_good_updates(flags: list[str], run: Path) -> None:
    ways = {"each": "--logging_steps=1", "together": "--logging_steps=4"}
    for name, every in ways.items():
        train(
            [*flags, "--report_to=tensorboard", every, f"--output_dir={run}-{name}"],
            draw_batch=poisoned(1),
        )
    for value in ("loss", "grad_norm"):
        each = logged(Path(f"{run}-each"), value)
        assert [math.isfinite(one) for one in each] == [True, False, True, True]
        mean = sum(one for one in each if math.isfinite(one)) / 3
        assert logged(Path(f"{run}-together"), value) == pytest.approx([mean], rel=1e-5)


def test_the_count_goes_on_after_resuming(flags: list[str], run: Path) -> None:
    flags = [*flags, "--checkpointing_steps=2", "--max_bad_steps=1"]
    train([*flags, "--max_train_steps=2"], draw_batch=poisoned(1))
    with pytest.raises(SystemExit, match="2 updates were not finite"):
        train([*flags, "--resume_from_checkpoint=latest"], draw_batch=poisoned(3))


def test_too_many_bad_updates_end_the_run(flags: list[str], run: Path) -> None:
    """By a message and status 1, which a text has as the status of SystemExit."""
    flags = [*flags, "--checkpointing_steps=1", "--max_bad_steps=1"]
    with pytest.raises(SystemExit) as stop:
        train(flags, draw_batch=poisoned(1, 2))
    assert str(stop.value).startswith(
        "error: Update 3: 2 updates were not finite and were skipped, more than --max_bad_steps 1. "
        f"The last good checkpoint: {run / 'checkpoint-2'}. "
    )
    assert sorted(path.name for path in run.glob("*checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    assert not (run / "model_index.json").exists()


def test_as_many_bad_updates_as_allowed_do_not_end_it(flags: list[str], run: Path) -> None:
    train([*flags, "--max_bad_steps=2"], draw_batch=poisoned(1, 2))
    assert (run / "checkpoint-4").is_dir() and (run / "model_index.json").is_file()


def test_without_a_log_they_are_noticed_before_the_checkpoint(flags: list[str], run: Path) -> None:
    flags = [*flags, "--checkpointing_steps=2", "--logging_steps=100", "--max_bad_steps=0"]
    with pytest.raises(SystemExit, match="error: Update 2: 1 updates were .* last good checkpoint: none"):
        train(flags, draw_batch=poisoned(0))
    assert not list(run.glob("*checkpoint-*"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("file", ["model", "optimizer", "ema", "timesteps"])
def test_what_is_not_finite_is_never_saved(flags: list[str], run: Path, file: str, value: float) -> None:
    with trainer([*flags, *BY_LOSS]) as training:
        training.train_step()
        training.save_checkpoint()
        training.train_step()
        values = training.history.losses if file == "timesteps" else _last_moment(training, file)
        values.view(-1)[-1] = value
        with pytest.raises(
            DivergedError, match="Update 2: weights or moments .* checkpoint: .*/checkpoint-1"
        ) as error:
            training.save_checkpoint()
    assert str(run) in str(error.value)
    assert [path.name for path in run.glob("*checkpoint-*")] == ["checkpoint-1"]


def _last_moment(training: Any, file: str) -> torch.Tensor:
    """The last tensor with a dimension in one of the run's files, and not a copy of it."""
    return [tensor for tensor in training.tensors.files()[f"{file}.safetensors"].values() if tensor.dim()][-1].data


def test_an_update_that_overflows_the_weights_ends_the_run(flags: list[str], run: Path) -> None:
    """Its gradient is finite, so nothing tells of it before."""
    huge = ["--learning_rate=1e38", "--adam_weight_decay=100", "--lr_scheduler=constant"]
    with pytest.raises(SystemExit, match="error: Update 1: weights or moments are no longer finite"):
        train([*flags, *huge, "--checkpointing_steps=1"])
    assert not list(run.glob("*checkpoint-*"))


def test_a_run_with_bad_updates_has_finite_checkpoints(flags: list[str], run: Path) -> None:
    train([*flags, "--checkpointing_steps=1", "--checkpoints_total_limit=0"], draw_batch=poisoned(0, 2))
    files = list(run.glob("checkpoint-*/*.safetensors"))
    assert len(files) == 4 * 3
    for file in files:
        assert all(tensor.isfinite().all() for tensor in load_file(file).values()), file
