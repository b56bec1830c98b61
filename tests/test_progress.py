"""What a run tells of itself: the means of an interval, the speed of training alone, and one line of it all."""

import re
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from pokemon_ddpm.training import progress, setup
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.progress import Meter, log_line
from tests.training_runs import AUGMENTED, BY_LOSS, as_own_process, assert_same_checkpoint, logged, tiny_flags, train


@pytest.fixture
def flags(small: Path, cache: Path, tmp_path: Path) -> list[str]:
    """A run of four updates, of which `run` in tmp_path is the output folder."""
    return [*tiny_flags(tmp_path, cache), f"--train_data_dir={small}", "--validation_steps=0"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def meter(clock: Clock) -> Meter:
    with as_own_process():
        yield Meter(Accelerator(cpu=True))


def add(meter: Meter, loss: float, grad_norm: float, images: int = 8) -> None:
    meter.add(torch.tensor(loss), torch.tensor(grad_norm), images)


def test_the_means_are_of_the_interval(meter: Meter, clock: Clock) -> None:
    add(meter, 1.0, 10.0), add(meter, 2.0, 40.0)
    clock.now += 4
    values = meter.read()
    assert (values["loss"], values["grad_norm"], values["images_per_second"]) == (1.5, 25.0, 4.0)
    add(meter, 5.0, 1.0, images=6)
    clock.now += 2
    values = meter.read()
    assert (values["loss"], values["grad_norm"], values["images_per_second"]) == (5.0, 1.0, 3.0)


def test_what_is_done_between_updates_does_not_count_for_the_speed(meter: Meter, clock: Clock) -> None:
    add(meter, 1.0, 1.0)
    clock.now += 1
    with meter.paused():
        clock.now += 50
    add(meter, 1.0, 1.0)
    clock.now += 1
    assert meter.read()["images_per_second"] == 8


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_update_that_is_not_finite_counts_for_the_speed_alone(meter: Meter, clock: Clock, bad: float) -> None:
    for loss, grad_norm in ((1.0, 2.0), (bad, 2.0), (1.0, bad), (3.0, 4.0)):
        add(meter, loss, grad_norm)
    clock.now += 8
    values = meter.read()
    assert (values["loss"], values["grad_norm"], values["images_per_second"]) == (2.0, 3.0, 4.0)
    add(meter, bad, bad)
    clock.now += 1
    assert str(meter.read()["loss"]) == "nan"


def test_memory_is_that_of_the_process_on_a_cpu(meter: Meter, clock: Clock) -> None:
    add(meter, 1.0, 1.0)
    clock.now += 1
    assert meter.read()["memory_gb"] == pytest.approx(psutil.Process().memory_info().rss / 1e9, rel=0.1)


VALUES = {"images_per_second": 1234.56, "loss": 0.123456, "lr": 6e-4, "grad_norm": 0.98765, "memory_gb": 1.234}


def test_a_line_says_it_all() -> None:
    assert log_line(1200, 38400, {**VALUES, "skipped_updates": 0}) == (
        "step 1,200  images 38,400  1234.6 images/s  loss 0.1235  lr 6.00e-04  grad norm 0.988  memory 1.23 GB"
    )
    assert log_line(1, 32, {**VALUES, "skipped_updates": 2}).endswith("memory 1.23 GB  skipped 2")


def test_the_log_has_a_line_an_interval_and_a_last_one(
    flags: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*flags, "--max_train_steps=5", "--logging_steps=2", "--report_to=tensorboard", "--learning_rate=1e-3"]
    train([*flags, "--lr_scheduler=constant_with_warmup", "--gradient_accumulation_steps=2", "--max_grad_norm=1000"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "images/s" in line]
    number = r"([\d.e+-]+)"
    pattern = (
        rf"step {number}  images {number}  {number} images/s  loss {number}  lr {number}  grad norm {number}  "
        rf"memory {number} GB"
    )
    rows = [[float(value) for value in re.fullmatch(pattern, line).groups()] for line in lines]
    assert [row[:2] for row in rows] == [[2, 32], [4, 64], [5, 80]]
    assert logged(run, "images_seen") == [32, 64, 80]
    for column, name in ((3, "loss"), (4, "lr"), (5, "grad_norm")):
        assert [row[column] for row in rows] == pytest.approx(logged(run, name), rel=1e-2)
    assert logged(run, "lr") == pytest.approx([1e-3] * 3)
    assert all(0 < row[6] < 100 and row[2] > 0 for row in rows)


def test_a_tracker_that_cannot_start_does_not_end_the_run(
    flags: list[str], run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no login")

    monkeypatch.setattr(Accelerator, "init_trackers", fail)
    train([*flags, "--report_to=tensorboard"])
    assert "warning: --report_to tensorboard failed (no login). The run goes on without it." in capsys.readouterr().out
    assert (run / "model_index.json").is_file()


def test_an_interval_s_loss_is_the_mean_of_its_updates(flags: list[str], run: Path) -> None:
    found = []
    for steps in (1, 2):
        train([*flags, f"--logging_steps={steps}", "--report_to=tensorboard", f"--output_dir={run}-{steps}"])
        found.append({name: logged(Path(f"{run}-{steps}"), name) for name in ("loss", "grad_norm")})
    for name, each in found[0].items():
        assert found[1][name] == pytest.approx([sum(each[:2]) / 2, sum(each[2:]) / 2], rel=1e-5)


# What a run needs of its machine


def test_deterministic_kernels_are_those_a_cpu_has_anyway(
    flags: list[str], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all that draws, moves and adds up, and with no kernel that refuses."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    flags = [*flags, *AUGMENTED, *BY_LOSS, "--variance_type=learned_range", "--mixed_precision=bf16"]
    train(flags)
    train([*flags, "--deterministic", f"--output_dir={run}-deterministic"])
    assert_same_checkpoint(run / "checkpoint-4", Path(f"{run}-deterministic") / "checkpoint-4")


def test_deterministic_kernels_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with as_own_process():
        setup.make_accelerator(TrainingConfig(output_dir=str(tmp_path)))
        assert not torch.are_deterministic_algorithms_enabled()
        setup.make_accelerator(TrainingConfig(output_dir=str(tmp_path), deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_a_compiled_run_goes_the_same_way(sprites_cache: Path, run: Path) -> None:
    """Without dropout, which compiled kernels draw in another way."""
    flags = tiny_flags(run.parent, sprites_cache, dropout=0.0)
    flags = [*flags, "--report_to=tensorboard", "--validation_steps=2", "--save_images_steps=4"]
    train([*flags, "--ddpm_num_inference_steps=2"])
    train([*flags, "--ddpm_num_inference_steps=2", "--compile", f"--output_dir={run}-compiled"])
    compiled = Path(f"{run}-compiled")
    for name in ("loss", "grad_norm", "validation_loss"):
        assert logged(compiled, name) == pytest.approx(logged(run, name), rel=1e-3)
    assert (compiled / "model_index.json").is_file()


@pytest.mark.parametrize("kind", [DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM])
def test_dividing_the_network_over_devices_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: DistributedType
) -> None:
    found = SimpleNamespace(num_processes=1, distributed_type=kind)
    monkeypatch.setattr(setup, "Accelerator", lambda **_: found)
    with pytest.raises(ValueError, match=f"are not divided by {kind.value}: choose plain multi-GPU training"):
        setup.make_accelerator(TrainingConfig(output_dir=str(tmp_path)))


def test_a_launcher_that_asks_for_deepspeed_gets_a_message(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is installed or not."""
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(SystemExit, match="error: "):
        train(flags)


def test_processes_that_do_not_see_each_other_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "Accelerator", lambda **_: SimpleNamespace(num_processes=1))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="do not see each other; on CPUs, set ACCELERATE_USE_CPU=true"):
        setup.make_accelerator(TrainingConfig(output_dir=str(tmp_path)))
