"""The log of a run, its tracker, updates that are not finite, and requests to stop."""

import math
import os
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pokemon_ddpm.training import monitoring
from pokemon_ddpm.training.monitoring import DivergedError, Meter, NonFiniteGuard, StopRequest, Tracker, log_line
from tests.training.runs import AUGMENTED, BY_LOSS, names, nan_in, tiny_flags, trainer

CPU = torch.device("cpu")
NAN = math.nan


def process(**others: object) -> SimpleNamespace:
    """What is used of an accelerator, in a single process without a loss scaler."""
    alone = {"device": CPU, "num_processes": 1, "scaler": None, "gather": lambda x: x, "reduce": lambda x, *_: x}
    return SimpleNamespace(**{**alone, **others})


# Log and tracker


class Clock:
    now = 100.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(monitoring, "time", clock)
    return clock


def add(meter: Meter, *updates: tuple[float, float]) -> None:
    for loss, grad_norm in updates:
        meter.add(torch.tensor(loss), torch.tensor(grad_norm), 8)


def test_the_meter_has_the_means_and_the_speed_of_an_interval(clock):
    meter = Meter(process())
    for updates, loss, grad_norm in (
        ([(1.0, 10.0), (2.0, 40.0)], 1.5, 25.0),
        ([(1.0, 2.0), (NAN, 2.0), (1.0, math.inf), (3.0, 4.0)], 2.0, 3.0),  # not finite: for the speed only
        ([(NAN, NAN)], NAN, NAN),
    ):
        add(meter, *updates)
        clock.now += 4
        with meter.paused():
            clock.now += 50
        values = meter.read()
        assert [values["loss"], values["grad_norm"]] == pytest.approx([loss, grad_norm], nan_ok=True)
        assert values["images_per_second"] == 8 * len(updates) / 4
    assert values["memory_gb"] == pytest.approx(psutil.Process().memory_info().rss / 1e9, rel=0.2)


def test_a_log_line():
    values = {"images_per_second": 1234.56, "loss": 0.123456, "lr": 6e-4, "grad_norm": 0.98765, "memory_gb": 1.234}
    assert log_line(1200, 38400, {**values, "skipped_updates": 0}) == (
        "step 1,200  images 38,400  1234.6 images/s  loss 0.1235  lr 6.00e-04  grad norm 0.988  memory 1.23 GB"
    )
    assert log_line(1, 32, {**values, "skipped_updates": 2}).endswith("memory 1.23 GB  skipped 2")


def test_a_tracker_that_fails_is_not_used_again(capsys):
    logged, trackers = [], [object()]

    def log(values: dict, step: int) -> None:
        if not trackers:
            return
        logged.append(values)
        raise OSError(28, "No space left on device")

    tracker = Tracker(process(trackers=trackers, log=log, init_trackers=lambda *_: 1, end_training=lambda: None))
    tracker.start({"seed": 0})
    tracker.log({"loss": 1.0}, 1)
    tracker.log({"loss": 2.0}, 2)
    tracker.end()
    assert logged == [{"loss": 1.0}] and trackers == []
    assert capsys.readouterr().out.count("warning: --report_to failed ([Errno 28] No space left on device).") == 1


# Updates that are not finite


def count(guard: NonFiniteGuard, *norms: float, losses: tuple[float, ...] = ()) -> None:
    for norm, loss in zip(norms, losses or norms, strict=True):
        guard.before_update(torch.tensor(norm), torch.tensor(loss))


def test_skipped_updates_are_counted_in_all_and_in_a_row(tmp_path):
    optimizer = SimpleNamespace(found_inf=None)
    guard = NonFiniteGuard(process(), optimizer, 4, tmp_path)
    expected = [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1)]
    for norm, counts in zip([1.0, NAN, math.inf, 2.0, NAN], expected, strict=True):
        count(guard, norm)
        assert guard.check(1) == counts and optimizer.found_inf == float(not math.isfinite(norm))
    guard.restore(1)
    count(guard, NAN, NAN, NAN)
    assert guard.check(1) == (4, 4)
    count(guard, NAN)
    with pytest.raises(DivergedError) as error:
        guard.check(1234)
    assert str(error.value).startswith(
        "Update 1,234: 5 updates were not finite, more than --max_bad_steps 4. The last good checkpoint: none."
    )


def test_a_loss_scaler_skips_overflows_itself(tmp_path):
    """It finds its scale by them, so only a bad loss counts."""
    optimizer = SimpleNamespace()
    guard = NonFiniteGuard(process(scaler=object()), optimizer, 4, tmp_path)
    count(guard, NAN, math.inf, 1.0, losses=(1.0, 1.0, NAN))
    assert guard.check(1) == (1, 1) and not hasattr(optimizer, "found_inf")


def test_the_counts_of_several_processes(tmp_path):
    guard = NonFiniteGuard(process(gather=lambda x: torch.cat([x, torch.tensor([[3.0, 0.0]])])), object(), 4, tmp_path)
    assert guard.check(1) == (3, 0)


@pytest.mark.parametrize("more", [[], ["--mixed_precision=bf16", "--gradient_accumulation_steps=2"], BY_LOSS])
def test_a_skipped_update_leaves_weights_and_moments_bit_by_bit(tmp_path, more):
    with trainer([*tiny_flags(tmp_path), *more, *AUGMENTED], sample_batch=nan_in(0, 2)) as run:

        def copies(*files: str) -> dict[str, torch.Tensor]:
            found = run.tensors.files()
            return {f"{file} {k}": v.clone() for file in files for k, v in found[f"{file}.safetensors"].items()}

        for step in range(4):
            before = copies("model", "optimizer")
            loss, grad_norm = run.train_step()
            after = copies("model", "optimizer")
            unchanged = [name for name in before if torch.equal(after[name], before[name])]
            if step in (0, 2):
                assert not loss.isfinite() and not grad_norm.isfinite()
                assert len(unchanged) == len(before)
            else:
                assert len(unchanged) < 0.2 * len(before)
        assert run.guard.check(4) == (2, 0)
        if run.history is not None:
            assert run.history.recorded.sum() == 4 * 24 - 2 and run.history.losses.isfinite().all()


@pytest.mark.parametrize("value", [NAN, -math.inf])
@pytest.mark.parametrize("file", ["model", "optimizer", "ema", "timesteps"])
def test_what_is_not_finite_is_never_saved(tmp_path, file, value):
    with trainer([*tiny_flags(tmp_path), *BY_LOSS]) as run:
        run.train_step()
        run.save_checkpoint()
        run.train_step()
        tensors = run.tensors.files()[f"{file}.safetensors"].values()
        tensor = run.history.losses if file == "timesteps" else [each for each in tensors if each.dim()][-1].data
        tensor.view(-1)[-1] = value
        with pytest.raises(
            DivergedError, match="^Update 2: weights or moments are no longer finite.*/checkpoint-1. Res"
        ):
            run.save_checkpoint()
    assert names(tmp_path / "run") == ["checkpoint-1"]


# Reads of the device by the host, which on a GPU would wait for it

ATEN = torch.ops.aten
INDEXING = {ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default, ATEN._index_put_impl_.default}
# On a CPU these copy without an operation.
COPIES = {getattr(torch.Tensor, name) for name in ("cpu", "numpy", "tolist", "__array__", "__reduce_ex__")}


class HostReads(TorchDispatchMode):
    """Counts operations with results that depend on the values in a tensor and are needed by the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.seen, outer = 0, set(), self

        class Copies(TorchFunctionMode):
            def __torch_function__(
                self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
            ) -> Any:
                outer.count += function in COPIES
                return function(*args, **(kwargs or {}))

        self._copies = Copies()

    def __enter__(self) -> "HostReads":
        self._copies.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._copies.__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(function)
        if function in INDEXING:
            self.count += any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
        else:
            tags = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
            self.count += bool(tags & set(function.tags))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "read",
    [lambda x: x[0].item(), lambda x: bool(x.all()), lambda x: x.tolist(), lambda x: x.nonzero(), lambda x: x[x > 0]],
)
def test_a_read_is_noticed(read: Callable[[torch.Tensor], object]):
    with HostReads() as reads:
        read(torch.arange(6.0))
    assert reads.count == 1


EVERYTHING = ["--variance_type=learned_range", "--gradient_accumulation_steps=2", *AUGMENTED]


@pytest.mark.parametrize(
    "way", [[], [*BY_LOSS, *EVERYTHING, "--mixed_precision=bf16"], [*EVERYTHING, "--timestep_sampling=stratified"]]
)
def test_an_update_does_not_wait_for_the_device(tmp_path, way):
    with trainer([*tiny_flags(tmp_path), *way]) as run:
        run.train_step()
        with HostReads() as reads:
            run.train_step()
    assert {ATEN.convolution_backward.default, ATEN._fused_adamw_.default} <= reads.seen
    assert reads.count == 0


# Stops


def test_a_stop_is_requested_by_time_or_the_end_of_the_launcher(monkeypatch, clock):
    assert not StopRequest(None).requested()
    stop = StopRequest(5.0)
    assert not stop.requested()
    clock.now += 6
    assert stop.requested() and stop.reason == "--max_train_seconds"

    monkeypatch.setattr(os, "getppid", lambda: 7)
    for variable in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"):
        with monkeypatch.context() as patch:
            alone = StopRequest(None)
            patch.setenv(variable, "no")
            stop = StopRequest(None)
            assert not stop.requested()
            patch.setattr(os, "getppid", lambda: 1)
            assert stop.requested() and stop.reason == "the end of its launcher" and not alone.requested()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_noted_inside_the_block_only(number):
    before = signal.getsignal(number), signal.set_wakeup_fd(-1)
    stop = StopRequest(None)
    with stop:
        assert not stop.requested()
        signal.raise_signal(number)
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)  # a scheduler may repeat it
        assert stop.requested() and stop.reason == number.name
    assert (signal.getsignal(number), signal.set_wakeup_fd(-1)) == before


@pytest.mark.parametrize(
    ("own", "votes", "reason"), [(None, 0, None), (None, 1, "another process"), ("SIGINT", 1, "SIGINT")]
)
def test_all_processes_stop_together(own, votes, reason):
    stop = StopRequest(None)
    stop.reason = own
    several = process(num_processes=2, reduce=lambda vote: torch.tensor(float(votes)))
    assert stop.agreed(several) == bool(votes) and stop.reason == reason
    assert stop.agreed(process()) == bool(reason)
