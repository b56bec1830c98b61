"""Running the training script in tests: in this process, or as a command."""

import contextlib
import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import torch
from accelerate.state import AcceleratorState, GradientState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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
def trainer(flags: Sequence[str]) -> Iterator[Any]:
    """The script's `Trainer`, ready for its first update."""
    with as_own_process():
        yield load_script().Trainer(parse_config(list(flags)))


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


def kill(process: subprocess.Popen) -> None:
    """Ends a started command and all that it started by SIGKILL, unless it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()
    process.stdout.close()


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
