"""Running the training script in tests: in this process, or as a command."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
from accelerate.state import AcceleratorState, GradientState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

TINY_NETWORK = {
    "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "norm_num_groups": 8,
    "dropout": 0.1,
}


def load_script() -> ModuleType:
    """train_conditional.py as a module."""
    spec = importlib.util.spec_from_file_location("train_conditional", ROOT / "train_conditional.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train(flags: Sequence[str]) -> None:
    """Runs the script's `main` in this process, as if the process were its own."""
    threads, arguments = torch.get_num_threads(), sys.argv
    sys.argv = ["train_conditional.py", *flags]
    try:
        load_script().main()
    finally:
        sys.argv = arguments
        torch.set_num_threads(threads)
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


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


def logged(output_dir: Path, name: str) -> list[float]:
    """The values of a scalar that a run with --report_to tensorboard logged, in order."""
    events = EventAccumulator(str(output_dir / "logs" / "pokemon-ddpm"))
    events.Reload()
    return [event.value for event in events.Scalars(name)]
