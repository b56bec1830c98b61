"""What a run measures: the denoising loss of fixed images, and samples that are near training images."""

import contextlib
import copy
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from pokemon_ddpm import SpriteTensors
from pokemon_ddpm.training import validation
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.setup import load_splits
from tests.tiny_models import tiny_pipeline
from tests.training.runs import AUGMENTED, tiny_flags, trainer

COUNT, T = 70, 1000


def measured(probe: validation.LossProbe, batches: list, index: int = 0, count: int = 1) -> float:
    """The part of one of several processes; the loss of an image is its timestep."""
    process = SimpleNamespace(process_index=index, num_processes=count, reduce=lambda total, _: total)
    process.autocast = contextlib.nullcontext

    def losses(_: object, batch: Batch) -> torch.Tensor:
        batches.append(batch)
        return batch.timesteps.float()

    return probe.measure(losses, None, process)


def test_a_probe_measures_each_image_twice_the_same_way_each_time():
    images = torch.randint(256, (COUNT, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    data, before = SpriteTensors(images, {"type": torch.arange(COUNT)[:, None].repeat(1, 2)}), torch.get_rng_state()
    probes, batches, again = [validation.LossProbe(data, COUNT, T) for _ in range(2)], [], []
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
    assert all(batch.weights is batch.augmentation is None for batch in batches)

    assert sum(measured(probes[0], [], i, 3) for i in range(3)) == pytest.approx(loss, rel=1e-6)
    sizes = {name: len(each.data) for name, each in validation.loss_probes(data, data.rows(types[:9]), T).items()}
    assert sizes == {"validation_loss": 18, "train_split_loss": 18}


def test_a_run_measures_its_ema_weights_on_held_out_images(tmp_path):
    """The result depends on nothing but the weights."""
    flags, found = [*tiny_flags(tmp_path), "--validation_steps=1", "--overwrite_output_dir"], []
    for more in (["--train_batch_size=3", "--conditioning_dropout_prob=0.9", *AUGMENTED], []):
        with trainer([*flags, *more]) as run:
            found.append(run.validate())
            for _ in range(3):
                run.train_step()
            metrics = run.validate()
            held_out = load_splits(run.config)["validation"].conditioned_on(run.unwrapped.conditioner.any_ids)
            probe, model = validation.LossProbe(held_out, len(held_out), T), copy.deepcopy(run.unwrapped).eval()
            plain = probe.measure(run.losses, model, run.accelerator)
            run.ema.copy_to(model.parameters())
            averaged = probe.measure(run.losses, model, run.accelerator)
            assert metrics["validation_loss"] == averaged != plain and run.unwrapped.training
    assert found[0] == found[1] and found[0]["validation_loss"] != found[0]["train_split_loss"]


def test_samples_near_training_images_are_counted(monkeypatch):
    """They are the training images, every second one inverted."""
    train, held_out = torch.randint(256, (2, 8, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    train, held_out = (SpriteTensors(images, {}, ("cat", "dog")) for images in (train, held_out))
    arrays = [image.permute(1, 2, 0).numpy() for image in train.images]

    def generate(_: object, requests: list) -> list[Image.Image]:
        assert [each.pokemon_type for each in requests] == ["cat", "dog"] * 16
        return [Image.fromarray(arrays[i % 8] if i % 2 else 255 - arrays[i % 8]) for i in range(len(requests))]

    monkeypatch.setattr(validation, "generate", generate)
    pipeline = tiny_pipeline(vocabulary={"type": ["cat", "dog"]})
    text = validation.overfitting(pipeline, train, held_out, {"validation_loss": 0.1, "train_split_loss": 0})
    assert text.startswith("Validation loss 0.1000, of training images 0.0000. Of 32 samples 16 are near a training")
