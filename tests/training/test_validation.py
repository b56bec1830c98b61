"""What a run measures: the denoising loss of fixed images, and KID and condition accuracy of samples."""

import contextlib
import copy
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pokemon_ddpm import PokemonDDPMPipeline, SpriteTensors, load_sprites
from pokemon_ddpm.diffusion import NoiseSchedule, make_scheduler
from pokemon_ddpm.generation import generate
from pokemon_ddpm.models import ConditionalDenoiser, build_conditioner, build_unet
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.setup import load_split
from pokemon_ddpm.training.validation import LossProbe, SampleEvaluation, check_sample_evaluation, loss_probes
from tests.labelled_images import folder_of_classes, parquet
from tests.test_diffusion import ALPHA_BAR, T
from tests.training.runs import AUGMENTED, LATEST, NETWORK, load_script, same, state, tiny_flags, train, trainer

COUNT = 70


def process(index: int = 0, count: int = 1) -> SimpleNamespace:
    """What a probe uses of an accelerator; of several processes, each has its own part of the sum."""
    context = contextlib.nullcontext
    return SimpleNamespace(process_index=index, num_processes=count, autocast=context, reduce=lambda total, _: total)


@pytest.fixture(scope="module")
def data() -> SpriteTensors:
    """Images that all differ, with labels that tell which one it is."""
    images = torch.randint(256, (COUNT, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    number = torch.arange(COUNT)
    return SpriteTensors(images, {"type": torch.stack([number % 18, number // 18 + 5], dim=1), "view": number % 2})


@pytest.fixture(scope="module")
def denoiser() -> ConditionalDenoiser:
    torch.manual_seed(0)
    unet = build_unet(NETWORK, 8)
    return ConditionalDenoiser(unet, build_conditioner(unet, ["type", "view"])).eval()


@pytest.fixture
def batches() -> list[Batch]:
    """The batches of `losses`."""
    return []


@pytest.fixture
def losses(batches) -> Callable[[nn.Module, Batch], torch.Tensor]:
    run = SimpleNamespace(distillation=None, schedule=NoiseSchedule.of(make_scheduler()), config=TrainingConfig())
    training_losses = load_script().Trainer.losses

    def record(denoiser: nn.Module, batch: Batch) -> torch.Tensor:
        batches.append(batch)
        return training_losses(run, denoiser, batch)

    return record


def test_the_loss_is_that_of_one_image_at_a_time(data, denoiser, losses, batches):
    """v with the weight of Min-SNR, in float64 but for the network."""
    before = torch.get_rng_state()
    measured = LossProbe(data, COUNT, T).measure(losses, denoiser, process(), lambda: False)
    assert torch.equal(torch.get_rng_state(), before)
    total, numbers, timesteps, noises = 0.0, [], [], []
    for batch in batches:
        assert batch.weights is batch.augmentation is None
        for i, t in enumerate(batch.timesteps.tolist()):
            number = int((data.images == batch.images[i]).flatten(1).all(dim=1).nonzero())
            labels = {name: ids[number : number + 1] for name, ids in data.labels.items()}
            clean, noise = data.images[number].double() / 127.5 - 1, batch.noise[i].double()
            alpha, sigma = math.sqrt(ALPHA_BAR[t]), math.sqrt(1 - ALPHA_BAR[t])
            with torch.no_grad():
                v = denoiser((alpha * clean + sigma * noise).float()[None], torch.tensor([t]), labels)[0].double()
            snr = alpha**2 / sigma**2
            total += min(snr, 5) / (snr + 1) * (v - (alpha * noise - sigma * clean)).square().mean().item()
            numbers.append(number), timesteps.append(t), noises.append(noise.flatten())
    assert measured == pytest.approx(total / (2 * COUNT), rel=1e-5)
    assert sorted(numbers) == sorted([*range(COUNT)] * 2)  # each image twice
    parts = np.sort(timesteps) * 2 * COUNT / T
    assert (np.abs(parts - np.arange(2 * COUNT)) < 1.01).all()  # one timestep in each of equal parts
    noise = torch.stack(noises)
    assert noise.mean().abs() < 0.025 and (noise.std() - 1).abs() < 0.02
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.4


def test_measurements_of_the_same_weights_agree_bit_by_bit(data, denoiser, losses):
    probe, other = LossProbe(data, COUNT, T), LossProbe(data, COUNT, T)
    first = probe.measure(losses, denoiser, process(), lambda: False)
    torch.randn(5)
    assert first == probe.measure(losses, denoiser, process(), lambda: False)
    assert first == other.measure(losses, denoiser, process(), lambda: False)
    changed = copy.deepcopy(denoiser)
    nn.init.constant_(changed.unet.conv_out.bias, 0.01)
    assert probe.measure(losses, changed, process(), lambda: False) != first


@pytest.mark.parametrize("count", [2, 3, 5])
def test_processes_divide_the_images(data, denoiser, losses, batches, count):
    probe = LossProbe(data, COUNT, T)
    whole = probe.measure(losses, denoiser, process(), lambda: False)
    timesteps = sorted(torch.cat([batch.timesteps for batch in batches]).tolist())
    batches.clear()
    parts = [probe.measure(losses, denoiser, process(i, count), lambda: False) for i in range(count)]
    assert sum(parts) == pytest.approx(whole, rel=1e-6)
    assert sorted(torch.cat([batch.timesteps for batch in batches]).tolist()) == timesteps


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interrupted_measurement_is_nan(data, denoiser, losses, after):
    answers = [False] * after + [True]
    probe = LossProbe(data, COUNT, T)
    assert math.isnan(probe.measure(losses, denoiser, process(), lambda: answers.pop(0))) and not answers


@pytest.mark.parametrize(("held_out", "train"), [(20, 50), (50, 20)])
def test_as_many_training_images_as_held_out_ones(data, held_out, train):
    splits = [data.rows(torch.arange(count)) for count in (train, held_out)]
    sizes = {name: len(probe.images) for name, probe in loss_probes(*splits, T).items()}
    assert sizes == {"validation_loss": 2 * held_out, "train_split_loss": 2 * min(held_out, train)}


def test_a_run_measures_its_ema_weights_on_held_out_images(tmp_path):
    """The result depends on nothing but the weights."""
    flags, found = [*tiny_flags(tmp_path), "--validation_steps=1"], []
    other = ["--train_batch_size=3", "--conditioning_dropout_prob=0.9", "--timestep_sampling=stratified", *AUGMENTED]
    for more in ([], other):
        with trainer([*flags, *more]) as run:
            run.validate(SimpleNamespace(write=print))
            found.append(run.metrics)
    assert found[0] == found[1] and found[0]["validation_loss"] != found[0]["train_split_loss"]

    with trainer(flags) as run:
        for _ in range(3):
            run.train_step()
        run.validate(SimpleNamespace(write=print))
        held_out = load_split(run.config, "validation").conditioned_on(run.unwrapped.conditioner.any_ids)
        probe, values = LossProbe(held_out, len(held_out), T), []
        for parameters in (run.ema.shadow_params, run.unwrapped.parameters()):
            model = copy.deepcopy(run.unwrapped).eval()
            for parameter, value in zip(model.parameters(), parameters, strict=True):
                parameter.data = value.detach().clone()
            values.append(probe.measure(run.losses, model, run.accelerator, lambda: False))
        assert run.metrics["validation_loss"] == values[0] != values[1] and run.unwrapped.training


# KID and condition accuracy of samples

SAMPLES = {"kid", "kid_standard_error", "condition_accuracy"}


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Path:
    """48 training and 24 held-out images of the starter set."""
    folder = tmp_path_factory.mktemp("few")
    rows = load_sprites(split="train", cache_dir=folder / "cache").shuffle(seed=0)
    return parquet(folder / "few", train=rows.select(range(48)), validation=rows.select(range(48, 72)))


@pytest.fixture
def flags(tmp_path, few) -> list[str]:
    """A run that measures 20 samples after its second and last update."""
    pytest.importorskip("torch_fidelity")
    flags = [flag for flag in tiny_flags(tmp_path) if "train_data_dir" not in flag and "config_name=all" not in flag]
    samples = ["--resolution=32", "--eval_steps=2", "--num_eval_images=20", "--ddpm_num_inference_steps=2"]
    return [*flags, f"--dataset_name={few}", *samples, "--max_train_steps=2", "--checkpointing_steps=2"]


def test_samples_of_the_saved_pipeline_have_the_metrics_of_the_last_update(flags, tmp_path):
    from pokemon_ddpm.evaluation.features import (
        SpriteClassifier,
        SpriteFeatureExtractor,
        extract_features,
        load_features,
        predict,
    )
    from pokemon_ddpm.evaluation.metrics import kid
    from pokemon_ddpm.evaluation.samples import sample_requests

    train(flags)
    run = tmp_path / "run"
    metrics = state(run / "checkpoint-2")["metrics"]
    assert metrics.keys() == SAMPLES and "KID" in (run / "README.md").read_text()
    held_out = load_split(TrainingConfig(dataset_name=flags[-7].split("=")[1]), "validation")
    pipeline = PokemonDDPMPipeline.from_pretrained(run)
    requests = sample_requests(held_out, pipeline.conditioner, 20)
    images = torch.from_numpy(np.stack([np.asarray(image) for image in generate(pipeline, requests)]))
    images = images.permute(0, 3, 1, 2).contiguous()
    network = load_features()
    features = [extract_features(SpriteFeatureExtractor(network), each) for each in (images, held_out.images)]
    assert kid(*features).value == pytest.approx(metrics["kid"], rel=1e-3)
    recognized = predict(SpriteClassifier(network), images)["type"]
    names = held_out.type_names
    given = [[names.index(name) for name in each.pokemon_type if name in names] for each in requests]
    right = [all(recognized[i, types].tolist()) for i, types in enumerate(given)]
    assert sum(right) / 20 == pytest.approx(metrics["condition_accuracy"])


def test_an_interrupted_evaluation_is_made_up_for(flags, tmp_path, monkeypatch):
    unbroken = tmp_path / "unbroken" / "run"
    train([*flags, f"--output_dir={unbroken}"])
    with monkeypatch.context() as patch:
        measure = SampleEvaluation.measure
        patch.setattr(SampleEvaluation, "measure", lambda self, pipeline, _: measure(self, pipeline, lambda: True))
        train(flags)
    assert state(tmp_path / "run" / "checkpoint-2")["metrics"] == {}
    train([*flags, LATEST])
    assert same(tmp_path / "run", unbroken)


def test_other_classes_have_kid_alone(flags, tmp_path):
    for split, count in (("train", 4), ("validation", 10)):
        folder_of_classes(tmp_path / "fruit" / split, {"apple": count, "pear": count})
    flags = [flag for flag in flags if not flag.startswith("--dataset_name")]
    train([*flags, f"--train_data_dir={tmp_path / 'fruit'}"])
    assert state(tmp_path / "run" / "checkpoint-2")["metrics"].keys() == SAMPLES - {"condition_accuracy"}
    with pytest.raises(SystemExit, match="--eval_steps needs 20 held-out images, but the data have 2"):
        train([*flags, f"--train_data_dir={tmp_path / 'small'}", "--overwrite_output_dir"])


def test_what_evaluation_needs_is_checked_first(monkeypatch):
    pytest.importorskip("torch_fidelity")
    with pytest.raises(ValueError, match="--eval_steps needs a --resolution of at least 32, but it is 24"):
        check_sample_evaluation(TrainingConfig(eval_steps=2, resolution=24))
    check_sample_evaluation(TrainingConfig(eval_steps=2))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs POT .*pip install 'pokemon-ddpm\[evaluation\]'"):
        check_sample_evaluation(TrainingConfig(eval_steps=2))
