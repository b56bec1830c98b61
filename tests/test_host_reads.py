"""Between two lines of the log nothing makes the host wait for the device.

On a CPU there is nothing to wait for, but the same operations run: those whose result the host has to know.
"""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training_runs import AUGMENTED, BY_LOSS, tiny_flags, trainer

ATEN = torch.ops.aten
INDEXING = {ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default, ATEN._index_put_impl_.default}
# They copy without an operation of their own where the tensor lies on the CPU already.
COPIES = {getattr(torch.Tensor, name) for name in ("cpu", "numpy", "tolist", "__array__", "__reduce_ex__")}


def is_read(function: Any, arguments: tuple) -> bool:
    """Whether an operation's value, or the shape of its result, depends on the numbers in a tensor."""
    if function in INDEXING:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in arguments[1])
    return bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(function.tags))


class _Calls(TorchFunctionMode):
    def __init__(self, note: Callable[[], None]):
        super().__init__()
        self._note = note

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if function in COPIES:
            self._note()
        return function(*args, **(kwargs or {}))


class HostReads(TorchDispatchMode):
    """While it is entered, `stacks` gets the Python stack of every read, and `seen` every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.stacks: list[str] = []
        self.seen: set[Any] = set()
        self._calls = _Calls(self._note)

    def _note(self) -> None:
        self.stacks.append("".join(traceback.format_stack()[:-2]))

    def __enter__(self) -> "HostReads":
        self._calls.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._calls.__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.seen.add(function)
        if is_read(function, args):
            self._note()
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x[0, 0].item(),
        lambda x: float(x[0, 0]),
        lambda x: bool(x.isfinite().all()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.clone().index_put_((x > 0,), torch.ones(())),
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: torch.equal(x, x),
    ],
)
def test_a_read_is_noticed(read: Callable[[torch.Tensor], object]) -> None:
    x = torch.arange(6.0).view(2, 3)
    with HostReads() as reads:
        read(x)
    assert len(reads.stacks) == 1 and "test_a_read_is_noticed" in reads.stacks[0]


def test_what_only_computes_is_no_read() -> None:
    x = torch.arange(6.0).view(2, 3)
    with HostReads() as reads:
        x[torch.tensor([1, 0])].add(1).where(x > 2, 0.0).sort().values.to("cpu", torch.float64).clamp(max=2)
    assert reads.stacks == [] and ATEN.index.Tensor in reads.seen


EVERYTHING = ["--variance_type=learned_range", "--gradient_accumulation_steps=2", *AUGMENTED]
WAYS = {
    "plain": [],
    "by loss": ["--mixed_precision=bf16", *BY_LOSS, *EVERYTHING],
    "stratified": ["--timestep_sampling=stratified", "--no_use_ema", *EVERYTHING],
}


@pytest.mark.parametrize("way", WAYS)
def test_an_update_reads_nothing(way: str, sprites_cache: Path, tmp_path: Path) -> None:
    with trainer([*tiny_flags(tmp_path, sprites_cache), *WAYS[way]]) as run:
        run.train_step()
        with HostReads() as reads:
            run.train_step()
    assert {ATEN.convolution_backward.default, ATEN._fused_adamw_.default} <= reads.seen  # all of it was watched
    assert reads.stacks == []


def test_a_run_reads_for_its_log_and_its_checkpoints_only(sprites_cache: Path, tmp_path: Path) -> None:
    flags = ["--logging_steps=2", "--checkpointing_steps=3", "--validation_steps=0"]
    with trainer([*tiny_flags(tmp_path, sprites_cache), *flags]) as run, HostReads() as reads:
        run.train()
    readers = [
        "log" if ", in log\n" in stack else "save" if ", in save_checkpoint\n" in stack else stack
        for stack in reads.stacks
    ]
    assert {"log", "save"} == set(readers)
    # Two lines: the means and the count of skipped updates.
    assert readers.count("log") == 4
