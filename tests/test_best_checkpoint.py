"""The checkpoint with the lowest validation loss: kept, and made the model where that is asked for."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training_runs import tiny_flags, train


@pytest.fixture
def flags(small: Path, cache: Path, tmp_path: Path) -> list[str]:
    """A run of four updates, of which `run` in tmp_path is the output folder; it measures and saves after each."""
    return [
        *tiny_flags(tmp_path, cache), f"--train_data_dir={small}", "--validation_steps=1", "--checkpointing_steps=1",
    ]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@dataclasses.dataclass
class Scripted:
    """A probe with the losses that a test wants."""

    losses: list[float]

    def loss(self, *_: object) -> float:
        return self.losses.pop(0)


def train_with(flags: Sequence[str], *losses: float) -> None:
    train(flags, make_probes=lambda *_: {"validation_loss": Scripted(list(losses))})


def exported(run: Path, file: str) -> list[str]:
    """The checkpoints whose weights the saved pipeline's network has."""
    weights = load_file(run / "unet" / "diffusion_pytorch_model.safetensors")
    saved = {path.parent.name: load_file(path) for path in sorted(run.glob(f"checkpoint-*/{file}.safetensors"))}
    return [
        name
        for name, other in saved.items()
        if all(torch.equal(weights[key], other[f"unet.{key}"]) for key in weights)
    ]


@pytest.mark.parametrize("file", ["ema", "model"])
def test_the_best_is_kept_beyond_the_limit_and_becomes_the_model_if_asked(
    flags: list[str], run: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*flags, "--checkpoints_total_limit=1", *(["--no_use_ema"] if file == "model" else [])]
    train_with(flags, 0.5, 0.1, 0.3, 0.2)
    assert sorted(path.name for path in run.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    assert exported(run, file) == ["checkpoint-4"]
    assert "The model is that of" not in capsys.readouterr().out
    train_with([*flags, "--overwrite_output_dir", "--load_best_model_at_end"], 0.5, 0.1, 0.3, 0.2)
    assert exported(run, file) == ["checkpoint-2"]
    assert f"The model is that of {run / 'checkpoint-2'}." in capsys.readouterr().out


def test_none_is_kept_as_the_best_unless_asked(flags: list[str], run: Path) -> None:
    flags = [*flags, "--checkpoints_total_limit=1", "--metric_for_best_model=none"]
    train_with(flags, 0.5, 0.1, 0.3, 0.2)
    assert [path.name for path in run.glob("checkpoint-*")] == ["checkpoint-4"]


def test_where_no_checkpoint_was_measured_the_model_is_the_last(
    flags: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_with([*flags, "--load_best_model_at_end"], *[math.nan] * 9)
    assert exported(run, "ema") == ["checkpoint-4"]
    assert "The model is that of" not in capsys.readouterr().out
