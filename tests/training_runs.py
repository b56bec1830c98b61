"""Running the training script in tests: in this process, or as a command."""

import contextlib
import importlib.util
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import torch
from accelerate.state import AcceleratorState, GradientState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm import tqdm

from pokemon_ddpm.training.batches import Batch, draw_batch
from pokemon_ddpm.training.config import parse_config

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
SCRIPT = ROOT / "train_conditional.py"

TINY_NETWORK = {
    "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "norm_num_groups": 8,
    "dropout": 0.1,
}

AUGMENTED = ["--random_flip"] + [
    f"--{kind}_prob=0.3" for kind in ("translate", "scale", "rotate", "brightness", "hue")
]
# Timesteps are drawn by their losses when there are ten of each: with few timesteps that is soon.
BY_LOSS = ["--timestep_sampling=loss_second_moment", "--ddpm_num_steps=8", "--ddpm_num_inference_steps=4"]


def tiny_flags(folder: Path, cache: Path, **network: Any) -> list[str]:
    """Flags of a run of four updates of 8 starter sprites, into `folder`/run."""
    file = folder / "tiny.json"
    file.write_text(json.dumps({**TINY_NETWORK, **network}))
    return [
        f"--model_config_name_or_path={file}",
        f"--cache_dir={cache}",
        f"--output_dir={folder / 'run'}",
        "--resolution=16",
        "--train_batch_size=8",
        "--max_train_steps=4",
        "--lr_warmup_steps=2",
        "--logging_steps=1",
        "--save_images_steps=0",
        "--num_cpu_threads=1",
    ]


def load_script() -> ModuleType:
    """train_conditional.py as a module."""
    spec = importlib.util.spec_from_file_location("train_conditional", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def as_own_process() -> Iterator[None]:
    """Puts back what a run changes in this process."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


def train(flags: Sequence[str], **replaced: object) -> None:
    """Runs the script's `main` in this process, as if the process were its own.

    Args:
        flags: Of the script.
        **replaced: What the script's module shall have under these names.
    """
    arguments = sys.argv
    sys.argv = ["train_conditional.py", *flags]
    script = load_script()
    for name, value in replaced.items():
        setattr(script, name, value)
    try:
        with as_own_process():
            script.main()
    finally:
        sys.argv = arguments


@contextlib.contextmanager
def trainer(flags: Sequence[str], **replaced: object) -> Iterator[Any]:
    """The script's `Trainer`, ready for its first update; `replaced` as in `train`."""
    script = load_script()
    for name, value in replaced.items():
        setattr(script, name, value)
    with as_own_process():
        yield script.Trainer(parse_config(list(flags)))


def poisoned(*steps: int) -> Callable[..., Batch]:
    """`draw_batch`, but with one NaN in the noise of these steps."""

    def draw(data: object, conditioner: object, config: object, step: int, *rest: object) -> Batch:
        batch = draw_batch(data, conditioner, config, step, *rest)
        if step not in steps:
            return batch
        noise = batch.noise.clone()
        noise[0, 0, 0, 0] = torch.nan
        return replace(batch, noise=noise)

    return draw


@contextlib.contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    """Lets every write fail that would make a file larger than `room` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def command(*words: object, **environment: str) -> subprocess.CompletedProcess:
    """Runs an installed command, offline and from another folder than the clone's, and returns what it said."""
    return subprocess.run(
        [str(BIN / str(words[0])), *map(str, words[1:])],
        cwd="/",
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def start(*words: object) -> subprocess.Popen:
    """Starts an installed command, whose output can be read line by line."""
    return subprocess.Popen(
        [str(BIN / str(words[0])), *map(str, words[1:])],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen, words: str) -> None:
    """Reads a started command's output up to the line that holds these words."""
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return
    raise AssertionError(f"{words!r} was never said: {''.join(said)}")


def kill(process: subprocess.Popen, *others: psutil.Process) -> None:
    """Ends a started command and all that it started by SIGKILL, unless they have ended.

    Args:
        process: The command.
        *others: What it had started, where it may itself have ended before.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        others = (*others, *psutil.Process(process.pid).children(recursive=True))
    process.kill()
    for other in others:
        with contextlib.suppress(psutil.NoSuchProcess):
            other.kill()
    process.wait()
    process.stdout.close()


# The processes that `forked` makes come from one that has imported the following, which takes seconds, only once.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["pokemon_ddpm.hub", "pokemon_ddpm.training.export", "pokemon_ddpm.training.setup", EventAccumulator.__module__]
)


def _train_in_fork(flags: Sequence[str], output: Path, environment: dict[str, str], replaced: dict) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    sys.stdout.reconfigure(line_buffering=True)
    tqdm.set_lock(threading.RLock())  # a lock between processes would be reported as lost when this one is killed
    os.environ.update(environment)
    train(flags, **replaced)


@contextlib.contextmanager
def forked(
    flags: Sequence[str], output: Path, environment: Mapping[str, str] | None = None, **replaced: object
) -> Iterator[BaseProcess]:
    """The script in a process of its own, which is killed in the end if it has not ended by then.

    Args:
        flags: Of the script.
        output: A file for what it says.
        environment: Further variables.
        **replaced: As in `train`; functions of a module.
    """
    process = _FORKS.Process(target=_train_in_fork, args=(flags, output, environment or {}, replaced))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
        print(output.read_text() if output.exists() else "it has said nothing")  # for the report of a failure


def wait_until(happens: Callable[[], bool], alive: Callable[[], bool], pause: float = 0.005) -> None:
    """Waits for something that a process does.

    Args:
        happens: Whether it has happened.
        alive: Whether the process still runs.
        pause: Seconds between two looks.
    """
    end = time.monotonic() + 120
    while not happens():
        assert alive(), "the process has ended"
        assert time.monotonic() < end, "it took too long"
        time.sleep(pause)


def manifest(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of itself."""
    return json.loads((checkpoint / "manifest.json").read_text())


def assert_same_checkpoint(one: Path, other: Path) -> None:
    """Compares all tensors to the bit, and the manifests' step, metrics and skipped updates."""
    files = {file.name: file.read_bytes() for file in one.glob("*.safetensors")}
    assert {"model.safetensors", "optimizer.safetensors"} <= files.keys()
    assert files.keys() == {file.name for file in other.glob("*.safetensors")}
    assert [name for name, content in files.items() if content != (other / name).read_bytes()] == []
    state, same = manifest(one)["state"], manifest(other)["state"]
    for name in ("step", "metrics", "skipped_updates"):
        assert state[name] == same[name], name


def logged(output_dir: Path, name: str) -> list[float]:
    """The values of a scalar that a run with --report_to tensorboard logged, in order."""
    events = EventAccumulator(str(output_dir / "logs" / "pokemon-ddpm"))
    events.Reload()
    return [event.value for event in events.Scalars(name)]
