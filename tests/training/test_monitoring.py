"""The log of a run, updates that are not finite, and what a run measures; stops are tested with whole runs."""

import contextlib
import copy
import math
from types import SimpleNamespace

import pytest
import torch

from pokemon_ddpm import SpriteTensors
from pokemon_ddpm.training import run as module
from pokemon_ddpm.training.batches import LossProbe
from pokemon_ddpm.training.run import load_splits
from tests.training.runs import AUGMENTED, nan_in, tiny_flags, trainer

NAN, MUON = math.nan, "--optimizer=muon"


def test_the_meter_has_the_means_and_the_speed_of_an_interval(monkeypatch):
    clock = SimpleNamespace(now=100.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(module, "time", clock)
    alone = {"num_processes": 1, "scaler": None, "gather": lambda x: x, "reduce": lambda x, *_: x}
    meter = module.Meter(SimpleNamespace(device=torch.device("cpu"), **alone))
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


@pytest.mark.parametrize("more", [[], ["--mixed_precision=bf16", "--gradient_accumulation_steps=2", MUON]])
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
        assert run.skipped.count(4) == 2


COUNT, T = 70, 1000


def measured(probe: LossProbe, batches: list, index: int = 0, count: int = 1) -> float:
    """The part of one of several processes; the loss of an image is its timestep."""
    process = SimpleNamespace(process_index=index, num_processes=count, reduce=lambda total, _: total)
    process.autocast = contextlib.nullcontext

    def losses(_: object, batch) -> torch.Tensor:
        batches.append(batch)
        return batch.timesteps.float()

    return probe.measure(losses, SimpleNamespace(conditioner=SimpleNamespace(any_ids={"type": 18})), process)


def test_a_probe_measures_each_image_twice_the_same_way_each_time():
    images = torch.randint(256, (COUNT, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    labels = {"type": torch.arange(COUNT)[:, None].repeat(1, 2), "body": torch.arange(COUNT)}  # no condition
    data, before = SpriteTensors(images, labels), torch.get_rng_state()
    probes, batches, again = [LossProbe(data, COUNT, T) for _ in range(2)], [], []
    loss = measured(probes[0], batches)
    assert measured(probes[1], again) == loss and torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one.noise, other.noise) for one, other in zip(batches, again, strict=True))
    types = torch.cat([batch.labels["type"][:, 0] for batch in batches])
    assert types.sort().values.tolist() == sorted([*range(COUNT)] * 2)
    assert torch.equal(torch.cat([batch.images for batch in batches]), images[types])
    timesteps, noise = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("timesteps", "noise"))
    assert loss == pytest.approx(timesteps.double().mean().item())
    parts = timesteps.sort().values * 2 * COUNT / T  # one timestep in each of equal parts
    assert ((parts - torch.arange(2 * COUNT)).abs() < 1.01).all()
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.4
    assert all(batch.augmentation is None and [*batch.labels] == ["type"] for batch in batches)

    assert sum(measured(probes[0], [], i, 3) for i in range(3)) == pytest.approx(loss, rel=1e-6)


def test_a_run_measures_its_ema_weights_on_held_out_images(tmp_path):
    flags, losses = [*tiny_flags(tmp_path), "--validation_steps=1", "--overwrite_output_dir"], []
    for more in (["--train_batch_size=3", *AUGMENTED], []):
        with trainer([*flags, *more]) as run:
            losses.append(run.validate())
            for _ in range(3):
                run.train_step()
            metrics = run.validate()
            trained = run.tensors.model
            held_out = load_splits(run.config)[0]["validation"].conditioned_on(trained.conditioner.any_ids)
            probe, model = LossProbe(held_out, len(held_out), T), copy.deepcopy(trained).eval()
            plain = probe.measure(run.losses, model, run.accelerator)
            run.tensors.ema.copy_to(model.parameters())
            averaged = probe.measure(run.losses, model, run.accelerator)
            assert metrics["validation_loss"] == averaged != plain and trained.training
    assert losses[0] == losses[1] and losses[0]["validation_loss"] != losses[0]["train_split_loss"]
