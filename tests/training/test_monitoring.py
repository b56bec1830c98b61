"""The log of a run, its tracker, updates that are not finite, and requests to stop."""

import math
import os
from types import SimpleNamespace

import psutil
import pytest
import torch

from pokemon_ddpm.training import monitoring
from pokemon_ddpm.training.monitoring import DivergedError, NonFiniteGuard, StopRequest
from tests.training.runs import AUGMENTED, BY_LOSS, names, nan_in, tiny_flags, trainer

NAN = math.nan


def process(**others: object) -> SimpleNamespace:
    """What is used of an accelerator, in a single process without a loss scaler."""
    alone = {"num_processes": 1, "scaler": None, "gather": lambda x: x, "reduce": lambda x, *_: x}
    return SimpleNamespace(device=torch.device("cpu"), **{**alone, **others})


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A clock that is set by hand."""
    clock = SimpleNamespace(now=100.0)
    clock.perf_counter = clock.monotonic = lambda: clock.now
    monkeypatch.setattr(monitoring, "time", clock)
    return clock


def test_the_meter_has_the_means_and_the_speed_of_an_interval(clock):
    meter = monitoring.Meter(process())
    for updates, loss, grad_norm in (
        ([(1.0, 10.0), (2.0, 40.0)], 1.5, 25.0),
        ([(1.0, 2.0), (NAN, 2.0), (1.0, math.inf), (3.0, 4.0)], 2.0, 3.0),  # not finite: for the speed only
        ([(NAN, NAN)], NAN, NAN),
    ):
        for update in updates:
            meter.add(*map(torch.tensor, update), 8)
        clock.now += 4
        with meter.paused():
            clock.now += 50
        values = meter.read()
        assert [values["loss"], values["grad_norm"]] == pytest.approx([loss, grad_norm], nan_ok=True)
        assert values["images_per_second"] == 8 * len(updates) / 4
    assert values["memory_gb"] == pytest.approx(psutil.Process().memory_info().rss / 1e9, rel=0.2)


def test_a_log_line():
    values = {"images_per_second": 1234.56, "loss": 0.123456, "lr": 6e-4, "grad_norm": 0.98765, "memory_gb": 1.234}
    assert monitoring.log_line(1200, 38400, {**values, "skipped_updates": 0}) == (
        "step 1,200  images 38,400  1234.6 images/s  loss 0.1235  lr 6.00e-04  grad norm 0.988  memory 1.23 GB"
    )
    assert monitoring.log_line(1, 32, {**values, "skipped_updates": 2}).endswith("memory 1.23 GB  skipped 2")


# Updates that are not finite


def test_skipped_updates_are_counted_in_all_and_in_a_row(tmp_path):
    optimizer = SimpleNamespace()
    guard = NonFiniteGuard(process(), optimizer, 4, tmp_path)
    guard.restore(1)
    for norm, counts in zip([1.0, NAN, math.inf, 2.0, NAN], [(1, 0), (2, 1), (3, 2), (3, 0), (4, 1)], strict=True):
        guard.before_update(torch.tensor(norm), torch.tensor(1.0))
        assert guard.check(1) == counts and optimizer.found_inf == float(not math.isfinite(norm))
    guard.before_update(torch.tensor(NAN), torch.tensor(1.0))
    with pytest.raises(DivergedError) as error:
        guard.check(1234)
    assert str(error.value).startswith(
        "Update 1,234: 5 updates were not finite, more than --max_bad_steps 4. The last good checkpoint: none."
    )


def test_what_counts_with_a_loss_scaler_and_in_several_processes(tmp_path):
    """A loss scaler finds its scale by overflowing gradients and skips them itself, so only a bad loss counts."""
    optimizer = SimpleNamespace()
    guard = NonFiniteGuard(process(scaler=object()), optimizer, 4, tmp_path)
    for norm, loss in ((NAN, 1.0), (math.inf, 1.0), (1.0, NAN)):
        guard.before_update(torch.tensor(norm), torch.tensor(loss))
    assert guard.check(1) == (1, 1) and not vars(optimizer)
    other = torch.tensor([[3.0, 0.0]])
    assert NonFiniteGuard(process(gather=lambda x: torch.cat([x, other])), object(), 4, tmp_path).check(1) == (3, 0)


@pytest.mark.parametrize("more", [[], ["--mixed_precision=bf16", "--gradient_accumulation_steps=2"], BY_LOSS])
def test_a_skipped_update_leaves_weights_and_moments_bit_by_bit(tmp_path, more):
    with trainer([*tiny_flags(tmp_path), *more, *AUGMENTED], sample_batch=nan_in(0, 2)) as run:
        for step in range(4):
            before, after = ({}, {})
            for found in (before, after):
                if found is after:
                    loss, grad_norm = run.train_step()
                files = run.tensors.files()
                for file in ("model.safetensors", "optimizer.safetensors"):
                    found.update({f"{file} {name}": tensor.clone() for name, tensor in files[file].items()})
            changed = [name for name in before if not torch.equal(after[name], before[name])]
            assert loss.isfinite() == grad_norm.isfinite() == (step in (1, 3))
            assert len(changed) > 0.8 * len(before) if step in (1, 3) else not changed
        assert run.guard.check(4) == (2, 0)
        if run.history is not None:
            assert run.history.recorded.sum() == 4 * 32 - 2 and run.history.losses.isfinite().all()


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
        with pytest.raises(DivergedError, match="^Update 2: weights or moments are no longer finite.*/checkpoint-1. "):
            run.save_checkpoint()
    assert names(tmp_path / "run") == ["checkpoint-1"]


# Stops


def test_a_stop_is_requested_by_time_or_the_end_of_the_launcher(monkeypatch, clock):
    stop = StopRequest(5.0)
    assert not stop.requested()
    clock.now += 6
    assert stop.requested() and stop.reason == "--max_train_seconds"
    for variable in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"):
        with monkeypatch.context() as patch:
            alone = StopRequest(None)
            patch.setenv(variable, "no")
            stop = StopRequest(None)
            assert not stop.requested()
            patch.setattr(os, "getppid", lambda: -1)
            assert stop.requested() and stop.reason == "the end of its launcher" and not alone.requested()


@pytest.mark.parametrize("own", [None, "SIGINT"])
@pytest.mark.parametrize("votes", [0.0, 1.0, 2.0])
def test_all_processes_stop_together(own, votes):
    stop = StopRequest(None)
    stop.reason = own
    assert stop.agreed(process()) == bool(own)
    assert stop.agreed(process(num_processes=2, reduce=lambda vote: torch.tensor(votes))) == bool(votes)
    assert stop.reason == (own or ("another process" if votes else None))
