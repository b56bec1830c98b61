"""Runs that are stopped: killed at any moment, asked by a signal or because time is up, in one process and in two."""

import contextlib
import hashlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.training import validation
from pokemon_ddpm.training.export import save_sheet
from pokemon_ddpm.training.randomness import NETWORK, derive_seed
from tests.training_runs import (
    AUGMENTED,
    BY_LOSS,
    SCRIPT,
    assert_same_checkpoint,
    forked,
    kill,
    manifest,
    start,
    tiny_flags,
    train,
    trainer,
    wait_for,
    wait_until,
)

LATEST = "--resume_from_checkpoint=latest"
ENDLESS = ["--max_train_steps=1000000", "--lr_scheduler=constant_with_warmup"]


@pytest.fixture
def flags(tmp_path: Path, small: Path, cache: Path) -> list[str]:
    """A run of four updates, of which `run` in tmp_path is the output folder."""
    return [
        *tiny_flags(tmp_path, cache), f"--train_data_dir={small}", "--validation_steps=0",
        "--checkpoints_total_limit=0",
    ]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def newest(run: Path) -> int:
    """The step of the newest checkpoint; 0 if there is none."""
    return max((int(path.name.split("-")[1]) for path in run.glob("checkpoint-*")), default=0)


def saving(run: Path) -> bool:
    """Whether a checkpoint is being written, or was when the run was killed."""
    return any(name.endswith(".partial") for name in os.listdir(run))


# Signals


def signal_in(number: signal.Signals, step: int, micro_step: int = 0) -> Callable[..., int]:
    """`derive_seed`, but a signal arrives when it is asked for a micro step's dropout."""

    def derive(seed: int, purpose: int, *key: int) -> int:
        if purpose == NETWORK and key == (step, 0, micro_step):
            signal.raise_signal(number)
        return derive_seed(seed, purpose, *key)

    return derive


@pytest.mark.parametrize(("number", "micro_step"), [(signal.SIGINT, 0), (signal.SIGTERM, 1)])
def test_inside_an_accumulation_window_the_update_is_finished(
    flags: list[str],
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    micro_step: int,
) -> None:
    flags = [*flags, *AUGMENTED, "--train_batch_size=4", "--gradient_accumulation_steps=2"]
    train([*flags, f"--output_dir={tmp_path / 'unbroken'}"])
    before = signal.getsignal(number)
    train(flags, derive_seed=signal_in(number, 1, micro_step))
    assert signal.getsignal(number) == before
    said = capsys.readouterr().out
    assert f"Stopped by {number.name} after 2 updates." in said
    assert "Go on with the same command and --resume_from_checkpoint latest." in said
    assert [path.name for path in run.glob("*checkpoint-*")] == ["checkpoint-2"]
    PokemonDDPMPipeline.from_pretrained(run)
    train([*flags, LATEST])
    assert_same_checkpoint(run / "checkpoint-4", tmp_path / "unbroken" / "checkpoint-4")


def asked_until(count: int, interrupted: Callable[[], bool], calls: list[bool]) -> Callable[[], bool]:
    """`interrupted`, but SIGTERM arrives before it is asked for the count-th time; notes what it said each time."""

    def ask() -> bool:
        if len(calls) == count - 1:
            signal.raise_signal(signal.SIGTERM)
        calls.append(interrupted())
        return calls[-1]

    return ask


def test_a_sheet_is_given_up(flags: list[str], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[bool] = []

    def save(*arguments: object) -> None:
        *rest, interrupted = arguments
        save_sheet(*rest, asked_until(3, interrupted, calls))

    train([*flags, "--save_images_steps=2"], save_sheet=save)
    assert calls == [False, False, True]  # after each denoising step
    assert not list(run.glob("samples/*"))
    assert "Stopped by SIGTERM after 2 updates" in capsys.readouterr().out
    assert newest(run) == 2


def interrupted_validation(monkeypatch: pytest.MonkeyPatch, number: int) -> list[bool]:
    """Lets SIGTERM arrive in a measurement, after the first chunk of its second part; returns what it is then told.

    Args:
        number: Of the measurement, from 0.
    """
    parts, calls = [], []
    measure = validation.Probe.loss

    def loss(probe: validation.Probe, *arguments: object) -> float:
        *rest, interrupted = arguments
        parts.append(probe)
        return measure(
            probe, *rest, asked_until(2, interrupted, calls) if len(parts) == 2 * number + 2 else interrupted
        )

    monkeypatch.setattr(validation.Probe, "loss", loss)
    return calls


@pytest.mark.parametrize("step", [2, 4])
def test_half_a_validation_is_none_and_made_up_for(
    flags: list[str],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: int,
) -> None:
    monkeypatch.setattr(validation, "CHUNK", 1)
    flags = [*flags, "--validation_steps=2", "--checkpointing_steps=2"]
    train([*flags, f"--output_dir={tmp_path / 'unbroken'}"])
    name = f"checkpoint-{step}"
    measured = manifest(tmp_path / "unbroken" / name)["state"]["metrics"]
    assert measured.keys() == {"validation_loss", "train_split_loss"}
    capsys.readouterr()
    with monkeypatch.context() as patched:
        calls = interrupted_validation(patched, step // 2 - 1)
        train(flags)
    assert calls == [False, True]
    assert newest(run) == step and manifest(run / name)["state"]["metrics"] == {}
    assert f"step {step}  validation_loss" not in capsys.readouterr().out
    train([*flags, LATEST])
    for name in ("checkpoint-2", "checkpoint-4"):
        assert_same_checkpoint(run / name, tmp_path / "unbroken" / name)


def test_sigterm_may_come_again_and_again(flags: list[str], run: Path) -> None:
    """As from a scheduler that is impatient: what counts is that all is saved."""

    def derive(seed: int, purpose: int, *key: int) -> int:
        if purpose == NETWORK:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        return derive_seed(seed, purpose, *key)

    train(flags, derive_seed=derive)
    assert newest(run) == 1 and (run / "model_index.json").is_file()


def test_its_time_is_up(flags: list[str], run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train([*flags, *ENDLESS, "--max_train_seconds=0.001"])
    assert "Stopped by --max_train_seconds after 1 updates" in capsys.readouterr().out
    assert newest(run) == 1 and (run / "model_index.json").is_file()


def says(output: Path, words: str) -> bool:
    return output.is_file() and words in output.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_everything_and_is_no_error(
    flags: list[str], run: Path, tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "output"
    with forked([*flags, *ENDLESS], output) as process:
        wait_until(lambda: says(output, "step 3 "), process.is_alive)
        os.kill(process.pid, number)
        process.join(20)
    assert process.exitcode == 0, output.read_text()
    assert says(output, f"Stopped by {number.name} after {newest(run)} updates.") and not says(output, "Traceback")
    assert newest(run) >= 3 and (run / "model_index.json").is_file()


def idle(seed: int, purpose: int, *key: int) -> int:
    """`derive_seed`, but updates take a minute, in which Python itself waits."""
    if purpose == NETWORK:
        print("waiting")
        time.sleep(60)
    return derive_seed(seed, purpose, *key)


def busy(seed: int, purpose: int, *key: int) -> int:
    """`derive_seed`, but updates take a minute, all of it in one call of a library, as `backward` is."""
    if purpose == NETWORK:
        print("waiting")
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)
    return derive_seed(seed, purpose, *key)


@pytest.mark.parametrize("slow", [idle, busy])
def test_a_second_interrupt_ends_it_at_once(
    flags: list[str], run: Path, tmp_path: Path, slow: Callable[..., int]
) -> None:
    with trainer(flags) as first:
        first.save_checkpoint()
    before = {path: path.read_bytes() for path in run.rglob("checkpoint-0/*")}
    output = tmp_path / "output"
    with forked([*flags, LATEST], output, derive_seed=slow) as process:
        wait_until(lambda: says(output, "waiting"), process.is_alive)
        os.kill(process.pid, signal.SIGINT)
        process.join(0.3)
        assert process.is_alive()
        os.kill(process.pid, signal.SIGINT)
        process.join(2)
        assert not process.is_alive()
    assert process.exitcode != 0
    assert {path: path.read_bytes() for path in run.rglob("checkpoint-*/*")} == before


# Launchers and several processes


def processes(launcher: subprocess.Popen) -> dict[str, psutil.Process]:
    """The training processes that a launcher has started, by their rank."""
    children = psutil.Process(launcher.pid).children(recursive=True)
    return {child.environ().get("RANK", "0"): child for child in children if str(SCRIPT) in child.cmdline()}


def test_a_trainer_whose_launcher_was_killed_saves_and_stops(flags: list[str], run: Path) -> None:
    launcher = start("accelerate", "launch", SCRIPT, *flags, *ENDLESS)
    try:
        wait_for(launcher, "step 3 ")
        (left,) = processes(launcher).values()
        launcher.kill()
        said = launcher.communicate(timeout=60)[0]  # until the trainer, too, has closed its output
        left.wait(timeout=10)
    finally:
        kill(launcher, left)
    assert f"Stopped by the end of its launcher after {newest(run)} updates." in said
    assert newest(run) >= 3 and (run / "model_index.json").is_file()


def launched(*words: object) -> subprocess.Popen:
    return start("torchrun", "--standalone", "--nproc_per_node", 2, SCRIPT, *words)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, sprites_cache: Path) -> tuple[list[str], Path, str]:
    """A run of two processes, not interrupted until the second alone got SIGTERM: its flags, its folder, its words."""
    folder = tmp_path_factory.mktemp("pair")
    flags = [
        *tiny_flags(folder, sprites_cache), *ENDLESS, *AUGMENTED, "--train_batch_size=4", "--validation_steps=0",
        "--gradient_accumulation_steps=2", "--checkpointing_steps=2", "--checkpoints_total_limit=0",
    ]  # fmt: skip
    launcher = launched(*flags)
    try:
        wait_for(launcher, "step 6 ")
        processes(launcher)["1"].terminate()
        said = launcher.communicate(timeout=60)[0]
    finally:
        kill(launcher)
    assert launcher.returncode == 0, said
    return flags, folder / "run", said


def test_two_processes_agree_on_the_step_to_stop_at(pair: tuple[list[str], Path, str]) -> None:
    """Else they would wait for each other in different collectives, and the launcher would say so by its status."""
    _, run, said = pair
    assert f"Stopped by another process after {newest(run)} updates." in said
    assert newest(run) >= 6 and (run / "model_index.json").is_file()


def ranks(flags: list[str], folder: Path, stack: contextlib.ExitStack) -> list[BaseProcess]:
    """Two processes of one run, which write into `folder`/0 and `folder`/1 what they say."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [
        stack.enter_context(forked(flags, folder / rank, {**where, "RANK": rank, "LOCAL_RANK": rank}))
        for rank in ("0", "1")
    ]


def killed_and_resumed(flags: list[str], run: Path, steps: int) -> None:
    """Runs two processes that are killed once."""
    flags = [*flags, f"--output_dir={run}"]
    with contextlib.ExitStack() as stack:
        first, second = ranks(flags, run.parent, stack)
        wait_until(lambda: says(run.parent / "0", "step 3 "), first.is_alive)
    assert first.exitcode == second.exitcode == -signal.SIGKILL
    assert 2 <= newest(run) < steps
    with contextlib.ExitStack() as stack:
        processes = ranks([*flags, LATEST, f"--max_train_steps={steps}"], run.parent, stack)
        for process in processes:
            process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert says(run.parent / "0", "Going on from")


def test_two_killed_processes_are_resumed_exactly(pair: tuple[list[str], Path, str], tmp_path: Path) -> None:
    flags, unbroken, _ = pair
    steps = newest(unbroken)
    killed_and_resumed(flags, tmp_path / "run", steps)
    assert_same_checkpoint(tmp_path / "run" / f"checkpoint-{steps}", unbroken / f"checkpoint-{steps}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param([*AUGMENTED, "--mixed_precision=bf16", "--gradient_accumulation_steps=2"], id="bf16"),
        pytest.param([*BY_LOSS, "--variance_type=learned_range", "--train_batch_size=16"], id="by loss"),
    ],
)
def test_two_killed_processes_are_resumed_exactly_in_every_way(
    flags: list[str], tmp_path: Path, variant: list[str]
) -> None:
    flags = [*flags, *variant, "--checkpointing_steps=2"]
    launcher = launched(*flags, "--max_train_steps=8")
    try:
        said = launcher.communicate(timeout=120)[0]
    finally:
        kill(launcher)
    assert launcher.returncode == 0, said
    killed_and_resumed([*flags, "--max_train_steps=8"], tmp_path / "killed", 8)
    assert_same_checkpoint(tmp_path / "killed" / "checkpoint-8", tmp_path / "run" / "checkpoint-8")


# Kills


def test_killed_three_times(flags: list[str], run: Path, tmp_path: Path) -> None:
    moments, output = random.Random(0), tmp_path / "output"
    flags = [*flags, *AUGMENTED, "--max_train_steps=36", "--checkpointing_steps=2"]
    for _ in range(3):
        step = newest(run) + moments.randint(2, 5)
        with forked([*flags, LATEST], output) as process:
            wait_until(lambda step=step: says(output, f"step {step} "), process.is_alive)
            time.sleep(moments.uniform(0, 0.02))
        assert process.exitcode == -signal.SIGKILL
    assert 0 < newest(run) < 36
    train([*flags, LATEST])
    train([*flags, f"--output_dir={tmp_path / 'unbroken'}"])
    assert_same_checkpoint(run / "checkpoint-36", tmp_path / "unbroken" / "checkpoint-36")


@pytest.mark.slow
def test_killed_twenty_times(tmp_path: Path, sprites_cache: Path) -> None:
    """Three in four times when a checkpoint's temporary folder has appeared, else at any time."""
    moments = random.Random(0)
    run = tmp_path / "run"
    flags = [
        *tiny_flags(tmp_path, sprites_cache, block_out_channels=[64, 128]), *ENDLESS, *AUGMENTED,
        "--gradient_accumulation_steps=2", "--train_batch_size=4", "--checkpointing_steps=2",
        "--checkpoints_total_limit=2", "--validation_steps=0", "--logging_steps=1000000",
    ]  # fmt: skip
    kills = inside_a_save = 0
    run.mkdir()
    for number in range(20):
        before = newest(run)
        process = start("python", SCRIPT, *flags, LATEST)
        try:
            alive = lambda process=process: process.poll() is None  # noqa: E731
            wait_until(lambda before=before: newest(run) > before, alive)  # so that every life makes progress
            if number % 4:
                wait_until(lambda: saving(run), alive, pause=0)
                time.sleep(moments.choice([0, moments.uniform(0, 0.2)]))
            else:
                time.sleep(moments.uniform(0, 0.5))
            assert process.poll() is None
        finally:
            kill(process)
        assert process.returncode == -signal.SIGKILL
        kills += 1
        inside_a_save += saving(run)
    print(f"{kills} kills, {inside_a_save} of them inside a save, {newest(run)} updates")
    assert kills == 20 and inside_a_save >= 5
    end = newest(run) + 3
    train([*flags, f"--max_train_steps={end}", LATEST])
    train([*flags, f"--max_train_steps={end}", f"--output_dir={tmp_path / 'unbroken'}"])
    assert_same_checkpoint(run / f"checkpoint-{end}", tmp_path / "unbroken" / f"checkpoint-{end}")
