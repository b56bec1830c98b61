"""What a run measures: the denoising loss of fixed images, and KID and condition accuracy of samples."""

import contextlib
import copy
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pokemon_ddpm import PokemonDDPMPipeline, SpriteTensors, load_sprites
from pokemon_ddpm.diffusion import NoiseSchedule, make_scheduler
from pokemon_ddpm.generation import generate
from pokemon_ddpm.training import validation
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.setup import load_split
from pokemon_ddpm.training.validation import LossProbe, SampleEvaluation
from tests.labelled_images import folder_of_classes, parquet
from tests.test_diffusion import ALPHA_BAR, T
from tests.training.runs import AUGMENTED, LATEST, load_script, same, state, tiny_flags, train, trainer, without

COUNT = 70


@pytest.fixture(scope="module")
def data() -> SpriteTensors:
    """Images that all differ, with a label that tells which one it is."""
    images = torch.randint(256, (COUNT, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return SpriteTensors(images, {"type": torch.arange(COUNT)[:, None].repeat(1, 2)})


def denoiser(noisy: torch.Tensor, timesteps: torch.Tensor, labels: dict, _: object = None) -> torch.Tensor:
    """A network that uses all of its inputs, also given as float64."""
    return (noisy + labels["type"][:, :1, None, None] / 100).sin() * (1 + timesteps.view(-1, 1, 1, 1) / T)


class Losses:
    """`Trainer.losses`, with the batches it was called with."""

    def __init__(self):
        self.run = SimpleNamespace(
            distillation=None, schedule=NoiseSchedule.of(make_scheduler()), config=TrainingConfig()
        )
        self.batches: list[Batch] = []

    def __call__(self, network: object, batch: Batch) -> torch.Tensor:
        self.batches.append(batch)
        return load_script().Trainer.losses(self.run, network, batch)


def measured(probe: LossProbe, losses: Losses, index: int = 0, count: int = 1, interrupted=lambda: False) -> float:
    """The part of one of several processes in the sum of all."""
    context = contextlib.nullcontext
    process = SimpleNamespace(
        process_index=index, num_processes=count, autocast=context, reduce=lambda total, _: total
    )
    return probe.measure(losses, denoiser, process, interrupted)


def test_the_loss_is_that_of_one_image_at_a_time(data):
    """v with the weight of Min-SNR, in float64; two measurements agree bit by bit."""
    losses, before = Losses(), torch.get_rng_state()
    found = measured(LossProbe(data, COUNT, T), losses)
    assert measured(LossProbe(data, COUNT, T), Losses()) == found and torch.equal(torch.get_rng_state(), before)
    total, numbers, timesteps, noises = 0.0, [], [], []
    for batch in losses.batches:
        assert batch.weights is batch.augmentation is None
        for i, t in enumerate(batch.timesteps.tolist()):
            numbers.append(int((data.images == batch.images[i]).flatten(1).all(dim=1).nonzero()))
            timesteps.append(t), noises.append(batch.noise[i].flatten())
            clean, noise = data.images[numbers[-1]].double() / 127.5 - 1, batch.noise[i].double()
            alpha, sigma = math.sqrt(ALPHA_BAR[t]), math.sqrt(1 - ALPHA_BAR[t])
            labels = {"type": torch.tensor([[numbers[-1]] * 2])}
            v = denoiser((alpha * clean + sigma * noise)[None], torch.tensor([t]), labels)[0]
            snr = alpha**2 / sigma**2
            total += min(snr, 5) / (snr + 1) * (v - (alpha * noise - sigma * clean)).square().mean().item()
    assert found == pytest.approx(total / (2 * COUNT), rel=1e-5)
    assert sorted(numbers) == sorted([*range(COUNT)] * 2)  # each image twice
    parts = np.sort(timesteps) * 2 * COUNT / T
    assert (np.abs(parts - np.arange(2 * COUNT)) < 1.01).all()  # one timestep in each of equal parts
    assert torch.corrcoef(torch.stack(noises)).fill_diagonal_(0).abs().max() < 0.4


@pytest.mark.parametrize("count", [2, 3, 5])
def test_processes_divide_the_images_and_an_interrupted_measurement_is_nan(data, count):
    probe, parts = LossProbe(data, COUNT, T), Losses()
    whole = measured(probe, Losses())
    assert sum(measured(probe, parts, i, count) for i in range(count)) == pytest.approx(whole, rel=1e-6)
    assert sum(len(batch.images) for batch in parts.batches) == 2 * COUNT
    answers = [False] * (count % 3) + [True]
    assert math.isnan(measured(probe, Losses(), interrupted=lambda: answers.pop(0))) and not answers


@pytest.mark.parametrize(("held_out", "train"), [(20, 50), (50, 20)])
def test_as_many_training_images_as_held_out_ones(data, held_out, train):
    splits = [data.rows(torch.arange(count)) for count in (train, held_out)]
    sizes = {name: len(probe.images) for name, probe in validation.loss_probes(*splits, T).items()}
    assert sizes == {"validation_loss": 2 * held_out, "train_split_loss": 2 * min(held_out, train)}


def test_a_run_measures_its_ema_weights_on_held_out_images(tmp_path):
    """The result depends on nothing but the weights."""
    flags, bar, found = [*tiny_flags(tmp_path), "--validation_steps=1"], SimpleNamespace(write=print), []
    for more in ([], ["--train_batch_size=3", "--conditioning_dropout_prob=0.9", *AUGMENTED]):
        with trainer([*flags, *more]) as run:
            run.validate(bar)
            found.append(run.metrics)
    assert found[0] == found[1] and found[0]["validation_loss"] != found[0]["train_split_loss"]
    with trainer(flags) as run:
        for _ in range(3):
            run.train_step()
        run.validate(bar)
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
    flags = [*without(tiny_flags(tmp_path), "train_data_dir", "dataset_config_name"), "--num_eval_images=20"]
    samples = ["--resolution=32", "--eval_steps=2", "--ddpm_num_inference_steps=2", "--max_train_steps=2"]
    return [*flags, *samples, "--checkpointing_steps=2", f"--dataset_name={few}"]


def test_samples_of_the_saved_pipeline_have_the_metrics_of_the_last_update(flags, tmp_path, few, monkeypatch):
    """Also of a run that was interrupted while it measured, and was resumed."""
    from pokemon_ddpm.evaluation import features
    from pokemon_ddpm.evaluation.metrics import kid
    from pokemon_ddpm.evaluation.samples import sample_requests

    run, unbroken = tmp_path / "run", tmp_path / "unbroken" / "run"
    train([*flags, f"--output_dir={unbroken}"])
    with monkeypatch.context() as patch:
        measure = SampleEvaluation.measure
        patch.setattr(SampleEvaluation, "measure", lambda self, pipeline, _: measure(self, pipeline, lambda: True))
        train(flags)
    assert state(run / "checkpoint-2")["metrics"] == {}
    train([*flags, LATEST])
    assert same(run, unbroken)

    metrics, pipeline = state(run / "checkpoint-2")["metrics"], PokemonDDPMPipeline.from_pretrained(run)
    assert metrics.keys() == SAMPLES and "KID" in (run / "README.md").read_text()
    held_out, network = load_split(TrainingConfig(dataset_name=str(few)), "validation"), features.load_features()
    requests = sample_requests(held_out, pipeline.conditioner, 20)
    images = torch.from_numpy(np.stack([np.asarray(image) for image in generate(pipeline, requests)]))
    images, extractor = images.permute(0, 3, 1, 2).contiguous(), features.SpriteFeatureExtractor(network)
    found = kid(*(features.extract_features(extractor, each) for each in (images, held_out.images)))
    assert found.value == pytest.approx(metrics["kid"], rel=1e-3)
    recognized, names = features.predict(features.SpriteClassifier(network), images)["type"], held_out.type_names
    given = [[names.index(name) for name in each.pokemon_type if name in names] for each in requests]
    right = [recognized[i, types].all().item() for i, types in enumerate(given)]
    assert sum(right) / 20 == pytest.approx(metrics["condition_accuracy"])


def test_other_classes_have_kid_alone(flags, tmp_path):
    for split, count in (("train", 4), ("validation", 10)):
        folder_of_classes(tmp_path / "fruit" / split, {"apple": count, "pear": count})
    flags = without(flags, "dataset_name")
    train([*flags, f"--train_data_dir={tmp_path / 'fruit'}"])
    assert state(tmp_path / "run" / "checkpoint-2")["metrics"].keys() == SAMPLES - {"condition_accuracy"}
    with pytest.raises(SystemExit, match="--eval_steps needs 20 held-out images, but the data have 2"):
        train([*flags, f"--train_data_dir={tmp_path / 'small'}", "--overwrite_output_dir"])


def test_what_evaluation_needs_is_checked_first(monkeypatch):
    pytest.importorskip("torch_fidelity")
    with pytest.raises(ValueError, match="--eval_steps needs a --resolution of at least 32, but it is 24"):
        validation.check_sample_evaluation(TrainingConfig(eval_steps=2, resolution=24))
    validation.check_sample_evaluation(TrainingConfig(eval_steps=2))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs POT .*pip install 'pokemon-ddpm\[evaluation\]'"):
        validation.check_sample_evaluation(TrainingConfig(eval_steps=2))
