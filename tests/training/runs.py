"""Tiny training runs: in this process, or in one of their own that can be killed."""

import atexit
import contextlib
import functools
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from huggingface_hub.utils import tqdm

from pokemon_ddpm.training import batches, run
from pokemon_ddpm.training.config import parse_config
from tests.small_archives import write_small_archive
from tests.tiny_models import NETWORK

SCRIPT = Path(__file__).parents[2] / "train_conditional.py"
TIMEOUT = 300  # seconds, for a busy machine
AUGMENTED = ["--random_flip", "--translate_prob=0.3", "--hue_prob=0.3"]
LATEST = "--resume_from_checkpoint=latest"


@functools.cache
def shared() -> Path:
    """A folder with a small archive for all runs of this process."""
    folder = Path(tempfile.mkdtemp(prefix="pokemon-ddpm-runs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_small_archive(folder / "small")
    return folder


def tiny_flags(folder: Path, **network: Any) -> list[str]:
    """Flags of a run of four updates into `folder`/run, on four images; `network` changes the network's settings."""
    network = NETWORK | {"dropout": 0.1, "patch_size": 2, "scaling_factor": 0.5} | network
    (folder / "tiny.json").write_text(json.dumps(network))
    settings = (
        f"model_config_name_or_path={folder}/tiny.json train_data_dir={shared()}/small "
        f"output_dir={folder}/run dataset_config_name=all resolution=16 train_batch_size=8 max_train_steps=4 "
        "lr_warmup_steps=2 learning_rate=0.001 checkpointing_steps=1 checkpoints_total_limit=0 "
        "validation_steps=0 save_images_steps=0 num_cpu_threads=1 ddpm_num_inference_steps=1"
    )
    return [f"--{setting}" for setting in settings.split()]


def without(flags: Sequence[str], *names: str) -> list[str]:
    """Flags but for those with these names."""
    return [flag for flag in flags if flag.split("=")[0].removeprefix("--") not in names]


def load_script(**replaced: object) -> ModuleType:
    """train_conditional.py as a module that logs each update, with other values of some of its names."""
    spec = importlib.util.spec_from_file_location("train_conditional", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    vars(script).update({"LOGGING_STEPS": 1, **replaced})
    return script


@contextlib.contextmanager
def own_process() -> Iterator[None]:
    """Restores what a run changes in this process, and releases its lock, as the end of a process does."""
    threads, lock, locks = torch.get_num_threads(), run.lock_output_dir, []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    run.lock_output_dir = lambda folder: locks.append(lock(folder))
    try:
        yield
    finally:
        run.lock_output_dir = lock
        for held in locks:
            held.release()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        torch.set_num_threads(threads)
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


def train(flags: Sequence[str], **replaced: object) -> None:
    """Runs the script in this process; `replaced` as for `load_script`."""
    with own_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(SCRIPT), *flags])
        load_script(**replaced).main()


@contextlib.contextmanager
def trainer(flags: Sequence[str], **replaced: object) -> Iterator[Any]:
    """The script's `Trainer` before its first update; `replaced` as for `load_script`."""
    with own_process():
        yield load_script(**replaced).Trainer(parse_config(list(flags)))


def nan_in(*steps: int) -> Callable[..., batches.Batch]:
    """`sample_batch` with a NaN in the noise of these steps."""

    def sample(data: object, conditioner: object, config: object, step: int, *rest: object) -> batches.Batch:
        batch = batches.sample_batch(data, conditioner, config, step, *rest)
        batch.noise[0, 0, 0, 0] *= torch.nan if step in steps else 1
        return batch

    return sample


# Processes are forked from one that has already imported the libraries, which takes seconds.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pokemon_ddpm.publishing.hub", "pokemon_ddpm.training.networks"])


def _train_in_fork(flags: Sequence[str], output: Path, environment: dict[str, str], replaced: dict) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1), os.dup2(descriptor, 2)
    sys.stdout.reconfigure(line_buffering=True)
    tqdm.set_lock(threading.RLock())  # a lock between processes would be reported as lost when this one is killed
    os.environ.update(environment)
    if "LAUNCHER" in environment and os.fork():
        os.wait()
    train(flags, **replaced)


@contextlib.contextmanager
def forked(flags: Sequence[str], output: Path, environment: dict[str, str] | None = None, **replaced: object):
    """The script in a process that is killed at the end of the block; it writes its output into a file.

    With the environment variable LAUNCHER it runs in a child of the process; `replaced` as for `load_script`.
    """
    output.unlink(missing_ok=True)
    process = _FORKS.Process(target=_train_in_fork, args=(flags, output, environment or {}, replaced))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
        print(output.read_text() if output.exists() else "no output")  # for the report of a failure


@contextlib.contextmanager
def two_processes(flags: Sequence[str], folder: Path) -> Iterator[tuple[Any, Any]]:
    """Both processes of a run, with their output in `folder`/rank-0 and `folder`/rank-1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    shared |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "false"}  # as by torchrun
    ranks = [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    with forked(flags, folder / "rank-0", ranks[0]) as first, forked(flags, folder / "rank-1", ranks[1]) as second:
        yield first, second


def wait_until(happens: Callable[[], bool], process: Any = None) -> None:
    """Waits for something that a process does; fails if it ends before."""
    end = time.monotonic() + TIMEOUT
    while not happens():
        assert time.monotonic() < end and (process is None or process.is_alive())
        time.sleep(0.005)


def exit_codes(*processes: Any) -> list[int]:
    for process in processes:
        process.join(TIMEOUT)
    return [process.exitcode for process in processes]


def prints(output: Path, text: str) -> bool:
    return output.exists() and text in output.read_text()


def names(run: Path) -> list[str]:
    """All of checkpoints, complete or not, in a run's folder."""
    return sorted(path.name for path in run.iterdir() if "checkpoint-" in path.name)


def state(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / "manifest.json").read_text())["state"]


def contents(folder: Path) -> dict[str, Any]:
    """Relative path -> content of all files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(one: Path, other: Path) -> bool:
    """Whether two runs or checkpoints are equal bit by bit but for their configuration; prints what differs."""
    files = [{**contents(folder), "training_config.json": None} for folder in (one, other)]
    for folder, content in zip((one, other), files, strict=True):
        content |= {name: state((folder / name).parent) | {"config": None} for name in content if "manifest" in name}
    differing = {name for name in {*files[0], *files[1]} if files[0].get(name) != files[1].get(name)}
    print("differing:", differing)
    return not differing
