"""The validation loss: the same for the same weights, and right; on which pictures, and where it is told."""

import contextlib
import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pokemon_ddpm import SpriteTensors, load_sprites, sprite_tensors
from pokemon_ddpm.models import ConditionalDenoiser, build_conditioner, build_unet
from pokemon_ddpm.noise_schedule import make_scheduler
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.objective import Objective
from pokemon_ddpm.training.validation import Probe, make_probes
from tests.test_noise_schedule import cosine_betas
from tests.training_runs import AUGMENTED, TINY_NETWORK, logged, manifest, tiny_flags, train, trainer

PICTURES, T, GAMMA = 70, 1000, 5.0


def process(index: int = 0, count: int = 1) -> SimpleNamespace:
    """What a probe asks of Accelerate, in one of several processes that do not meet: each has its share of the sum."""
    return SimpleNamespace(
        process_index=index,
        num_processes=count,
        autocast=contextlib.nullcontext,
        reduce=lambda total, how: {"sum": total}[how],
    )


@pytest.fixture(scope="module")
def data() -> SpriteTensors:
    """Pictures that all differ, with labels that tell which one it is."""
    images = torch.randint(256, (PICTURES, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    number = torch.arange(PICTURES)
    return SpriteTensors(images, {"type": torch.stack([number % 18, number // 18 + 5], dim=1), "view": number % 2})


@pytest.fixture(scope="module")
def denoiser() -> ConditionalDenoiser:
    torch.manual_seed(0)
    unet = build_unet(TINY_NETWORK, 8)
    return ConditionalDenoiser(unet, build_conditioner(unet, ["type", "view"])).eval()


@pytest.fixture(scope="module")
def objective() -> Objective:
    return Objective.of(make_scheduler(T), GAMMA, torch.device("cpu"))


@pytest.fixture(scope="module")
def probe(data: SpriteTensors) -> Probe:
    return Probe(data, PICTURES, T)


def measured(probe: Probe, denoiser: Any, objective: Any, of: SimpleNamespace | None = None) -> float:
    return probe.loss(denoiser, objective, of or process(), lambda: False)


class Recording:
    """An objective that also keeps the batches it was given."""

    def __init__(self, objective: Objective):
        self._objective = objective
        self.batches: list[Batch] = []

    def losses(self, denoiser: Any, batch: Batch) -> torch.Tensor:
        self.batches.append(batch)
        return self._objective.losses(denoiser, batch)

    def together(self, name: str) -> torch.Tensor:
        return torch.cat([getattr(batch, name) for batch in self.batches])


def test_two_measurements_agree_to_the_bit_whatever_happened_between(probe, denoiser, objective, data):
    first = measured(probe, denoiser, objective)
    torch.randn(5)
    other = Probe(data, PICTURES, T)
    assert measured(probe, denoiser, objective) == measured(other, denoiser, objective) == first
    changed = copy.deepcopy(denoiser)
    with torch.no_grad():
        changed.unet.conv_out.bias += 0.01
    assert measured(probe, changed, objective) != first


def test_measuring_leaves_torchs_own_generator_alone(probe, denoiser, objective):
    before = torch.get_rng_state()
    measured(probe, denoiser, objective)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_is_that_of_one_picture_at_a_time(probe, denoiser, objective):
    """By the definition of v and of Min-SNR's weight, in float64 but for the network."""
    recording = Recording(objective)
    loss = measured(probe, denoiser, recording)
    alpha_bar = np.cumprod(1 - cosine_betas(T))
    total = 0.0
    for batch in recording.batches:
        for i, t in enumerate(batch.timesteps.tolist()):
            signal, noise = math.sqrt(alpha_bar[t]), math.sqrt(1 - alpha_bar[t])
            clean = batch.images[i].double() / 255 * 2 - 1
            epsilon = batch.noise[i].double()
            noisy = (signal * clean + noise * epsilon).float()[None]
            labels = {name: ids[i : i + 1] for name, ids in batch.labels.items()}
            with torch.no_grad():
                answer = denoiser(noisy, torch.tensor([t]), labels)[0].double()
            error = (answer - (signal * epsilon - noise * clean)).square().mean().item()
            snr = alpha_bar[t] / (1 - alpha_bar[t])
            total += min(snr, GAMMA) / (snr + 1) * error
    assert loss == pytest.approx(total / (2 * PICTURES), rel=1e-5)


def test_every_picture_is_measured_twice_with_all_its_labels(probe, denoiser, objective, data):
    recording = Recording(objective)
    measured(probe, denoiser, recording)
    images = recording.together("images")
    numbers = [(data.images == image).flatten(1).all(dim=1).nonzero().item() for image in images]
    assert sorted(numbers) == sorted([*range(PICTURES)] * 2)
    for name in ("type", "view"):
        labels = torch.cat([batch.labels[name] for batch in recording.batches])
        assert torch.equal(labels, data.labels[name][numbers])
    assert all(batch.weights is None and batch.augmentation is None for batch in recording.batches)


def test_timesteps_are_spread_evenly_and_noise_is_never_the_same(probe, denoiser, objective):
    recording = Recording(objective)
    measured(probe, denoiser, recording)
    count = 2 * PICTURES
    parts = recording.together("timesteps").sort().values.double() * count / T
    assert ((parts - torch.arange(count)).abs() < 1.01).all()  # one in each of the equal parts, or on its edge
    noise = recording.together("noise").flatten(1)
    assert noise.mean().abs() < 0.025 and (noise.std() - 1).abs() < 0.02  # 26,880 values: 4 and 4.6 sigma
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.4  # of 192 pixels: 5.5 sigma


@pytest.mark.parametrize("count", [2, 3, 5])
def test_processes_share_the_pictures(probe, denoiser, objective, count):
    whole = Recording(objective)
    loss = measured(probe, denoiser, whole)
    parts = [Recording(objective) for _ in range(count)]
    losses = [measured(probe, denoiser, part, process(i, count)) for i, part in enumerate(parts)]
    assert sum(losses) == pytest.approx(loss, rel=1e-6)
    shared = torch.cat([batch.noise for part in parts for batch in part.batches])
    assert sorted(shared.flatten(1)[:, 0].tolist()) == sorted(whole.together("noise").flatten(1)[:, 0].tolist())


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interrupted_measurement_is_not_a_number(probe, denoiser, objective, after):
    answers = [False] * after + [True] * 5
    assert math.isnan(probe.loss(denoiser, objective, process(), lambda: answers.pop(0)))


@pytest.mark.parametrize(("held_out", "train"), [(20, 50), (50, 20)])
def test_as_many_training_pictures_are_measured_as_there_are(data, denoiser, held_out, train):
    def first(count: int, shade: int) -> SpriteTensors:
        images = torch.full((count, 3, 8, 8), shade, dtype=torch.uint8)
        return SpriteTensors(images, {name: ids[:count] for name, ids in data.labels.items()})

    splits = first(train, 10), first(held_out, 20)
    probes = make_probes(*splits, T)
    assert list(probes) == ["validation_loss", "train_split_loss"]
    shades = {name: (len(probe.images), set(probe.images.flatten().tolist())) for name, probe in probes.items()}
    assert shades == {"validation_loss": (2 * held_out, {20}), "train_split_loss": (2 * min(held_out, train), {10})}
    assert make_probes(splits[0], None, T) == {}


# In a run


@pytest.fixture
def flags(small: Path, cache: Path, tmp_path: Path) -> list[str]:
    """A run of four updates, of which `run` in tmp_path is the output folder; it measures and saves after each."""
    return [
        *tiny_flags(tmp_path, cache), f"--train_data_dir={small}", "--validation_steps=1", "--checkpointing_steps=1",
    ]  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


class Bar:
    """Keeps what is written above a progress bar."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.write = self.lines.append


def test_the_first_measurement_depends_on_the_weights_alone(flags: list[str]) -> None:
    """Not on the size of the batch, the log, what is drawn for training, or how pictures are augmented."""
    found = []
    others = ["--train_batch_size=3", "--gradient_accumulation_steps=2", "--logging_steps=7", *AUGMENTED]
    for other in ([], [*others, "--conditioning_dropout_prob=0.9", "--timestep_sampling=stratified"]):
        with trainer([*flags, *other]) as run:
            run.validate(Bar())
            found.append(run.metrics)
    assert found[0] == found[1]
    assert found[0]["validation_loss"] != found[0]["train_split_loss"]


def test_the_averaged_weights_are_measured_on_the_held_out_split(flags: list[str], small: Path, cache: Path) -> None:
    held_out = sprite_tensors(load_sprites(small, split="validation", cache_dir=cache), 16)
    with trainer([*flags, "--learning_rate=0.01", "--lr_warmup_steps=0"]) as run:
        for _ in range(3):
            run.train_step()
        bar = Bar()
        run.validate(bar)
        plain = copy.deepcopy(run.unwrapped).eval()
        average = copy.deepcopy(plain)
        for parameter, shadow in zip(average.parameters(), run.ema.shadow_params, strict=True):
            parameter.data = shadow.clone()
        held_out = held_out.described(run.unwrapped.conditioner.any_ids)
        probe = Probe(held_out, len(held_out), T)
        assert run.metrics["validation_loss"] == measured(probe, average, run.objective)
        assert run.metrics["validation_loss"] != measured(probe, plain, run.objective)
        assert run.unwrapped.training
    values = run.metrics["validation_loss"], run.metrics["train_split_loss"]
    assert bar.lines == ["step 3  validation_loss {:.4f}  train_split_loss {:.4f}".format(*values)]


def test_the_log_and_the_manifest_hold_it(flags: list[str], run: Path) -> None:
    train([*flags, "--report_to=tensorboard", "--validation_steps=2", "--checkpoints_total_limit=0"])
    metrics = {step: manifest(run / f"checkpoint-{step}")["state"]["metrics"] for step in range(1, 5)}
    assert metrics[1] == metrics[3] == {}  # nothing was measured there
    for name in ("validation_loss", "train_split_loss"):
        assert logged(run, name) == pytest.approx([metrics[2][name], metrics[4][name]], rel=1e-6)


def test_the_last_update_is_measured_whatever_the_interval(flags: list[str], run: Path) -> None:
    train([*flags, "--validation_steps=100"])
    assert manifest(run / "checkpoint-4")["state"]["metrics"].keys() == {"validation_loss", "train_split_loss"}


def test_measuring_changes_nothing_of_the_training(flags: list[str], run: Path) -> None:
    train([*flags, "--validation_steps=2"])
    measured = {file: load_file(run / "checkpoint-4" / f"{file}.safetensors") for file in ("model", "ema")}
    train([*flags, "--overwrite_output_dir", "--validation_steps=0"])
    assert manifest(run / "checkpoint-4")["state"]["metrics"] == {}
    for file, tensors in measured.items():
        again = load_file(run / "checkpoint-4" / f"{file}.safetensors")
        assert [name for name in again if not torch.equal(again[name], tensors[name])] == []


@pytest.fixture
def training_only(small: Path, cache: Path, tmp_path: Path) -> str:
    """A data set of Parquet files without a validation split."""
    rows = load_sprites(small, split="train", cache_dir=cache)
    rows.to_parquet(tmp_path / "own" / "data" / "train-00000-of-00001.parquet")
    return f"--dataset_name={tmp_path / 'own'}"


def test_without_held_out_pictures_the_message_says_how_to_train(flags: list[str], training_only: str) -> None:
    flags = [flag for flag in flags if not flag.startswith("--train_data_dir")]
    with pytest.raises(SystemExit, match="error: .*--validation_steps 0"):
        train([*flags, training_only])


def test_without_held_out_pictures_it_trains_if_none_are_asked_for(
    flags: list[str], training_only: str, run: Path
) -> None:
    flags = [flag for flag in flags if not flag.startswith("--train_data_dir")]
    train([*flags, training_only, "--validation_steps=0"])
    assert (run / "model_index.json").is_file()
