"""The log of a run, and updates that are not finite; stops are tested with whole runs."""

import math
from types import SimpleNamespace

import pytest
import torch

from pokemon_ddpm.training import monitoring
from tests.training.runs import AUGMENTED, BY_LOSS, nan_in, tiny_flags, trainer

NAN = math.nan


def process(**others: object) -> SimpleNamespace:
    """What is used of an accelerator, in a single process without a loss scaler."""
    alone = {"num_processes": 1, "scaler": None, "gather": lambda x: x, "reduce": lambda x, *_: x}
    return SimpleNamespace(device=torch.device("cpu"), **{**alone, **others})


def test_the_meter_has_the_means_and_the_speed_of_an_interval(monkeypatch):
    clock = SimpleNamespace(now=100.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(monitoring, "time", clock)
    meter = monitoring.Meter(process())
    for updates, loss, grad_norm in (
        ([(1.0, 10.0), (2.0, 40.0)], 1.5, 25.0),
        ([(1.0, 2.0), (NAN, 2.0), (1.0, math.inf), (3.0, 4.0)], 2.0, 3.0),  # not finite: for the speed only
        ([(NAN, NAN)], NAN, NAN),
    ):
        for update in updates:
            meter.add(*map(torch.tensor, update), 8)
        clock.now += 4
        values = meter.read()
        assert [values["loss"], values["grad_norm"]] == pytest.approx([loss, grad_norm], nan_ok=True)
        assert values["images_per_second"] == 8 * len(updates) / 4


@pytest.mark.parametrize("more", [[], ["--mixed_precision=bf16", "--gradient_accumulation_steps=2"], BY_LOSS])
def test_a_skipped_update_leaves_weights_and_moments_bit_by_bit(tmp_path, more):
    with trainer([*tiny_flags(tmp_path), *more, *AUGMENTED], sample_batch=nan_in(0, 2)) as run:

        def copies() -> list[torch.Tensor]:
            files = [run.tensors.files()[f"{name}.safetensors"].values() for name in ("model", "optimizer")]
            return [tensor.clone() for tensors in files for tensor in tensors]

        for step in range(4):
            before, (loss, grad_norm) = copies(), run.train_step()
            changed = [not torch.equal(one, other) for one, other in zip(before, copies(), strict=False)]
            assert loss.isfinite() == grad_norm.isfinite() == (step in (1, 3))
            assert sum(changed) > 0.8 * len(changed) if step in (1, 3) else not any(changed)
        assert run.skipped_updates() == 2
        if run.resampler is not None:
            assert run.resampler.recorded.sum() == 4 * 32 - 2 and run.resampler.losses.isfinite().all()
