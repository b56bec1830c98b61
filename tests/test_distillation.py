"""Progressive distillation: the formulas against a Gaussian teacher in closed form, and halvings by the script."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from safetensors.torch import load_file, save_file
from torch import nn

from pokemon_ddpm import PokemonDDPMPipeline, SpriteConditioner
from pokemon_ddpm.distillation import (
    NoiseLevel,
    StudentSteps,
    ddim_step,
    distillation_target,
    noise_level,
    student_schedule,
    student_scheduler,
    trailing_timesteps,
    truncated_snr,
)
from pokemon_ddpm.noise_schedule import make_scheduler
from pokemon_ddpm.pipelines.sampling import set_timesteps
from pokemon_ddpm.pipelines.sampling import step as scheduler_step
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.checkpoint import TrainingState
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.continuation import OtherRunError, check_unchanged
from pokemon_ddpm.training.distillation import DistillationObjective
from pokemon_ddpm.training.export import make_pipeline
from pokemon_ddpm.vocabulary import TYPES
from tests.conftest import tiny_pipeline
from tests.drawing import FIRE, WATER, record_calls
from tests.test_host_reads import HostReads
from tests.test_noise_schedule import ALPHA_BAR, T
from tests.training_runs import AUGMENTED, assert_same_checkpoint, tiny_flags, train, trainer

MEAN, STD = 0.3, 0.15
PREDICTIONS = ["v_prediction", "sample"]
STUDENTS = [16, 8, 4, 2, 1]


def level(timestep: int) -> tuple[float, float]:
    """alpha and sigma from the paper's schedule, also of the clean picture, -1."""
    alpha_bar = float(ALPHA_BAR[timestep]) if timestep >= 0 else 1.0
    return alpha_bar**0.5, (1 - alpha_bar) ** 0.5


def as_level(timestep: int) -> NoiseLevel:
    return NoiseLevel(*(torch.tensor(value, dtype=torch.float64) for value in level(timestep)))


def expected_clean(noisy, timestep: int):
    """E[x | z_t] where every pixel is N(MEAN, STD^2)."""
    alpha, sigma = level(timestep)
    return MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (noisy - alpha * MEAN)


def ddim(noisy, clean, now: int, then: int):
    """DDIM with eta 0 as Song et al. 2021 write it: the same noise at another level."""
    (alpha, sigma), (alpha_then, sigma_then) = level(now), level(then)
    return alpha_then * clean + sigma_then * (noisy - alpha * clean) / sigma


def two_teacher_steps(noisy, start: int, middle: int, end: int):
    halfway = ddim(noisy, expected_clean(noisy, start), start, middle)
    return ddim(halfway, expected_clean(halfway, middle), middle, end)


def steps_of(student_steps: int) -> list[tuple[int, int, int]]:
    """(start, middle, end) of each step of the student, written out."""
    edges = [round(T - i * T / (2 * student_steps)) - 1 for i in range(2 * student_steps)] + [-1]
    return [tuple(edges[i : i + 3]) for i in range(0, 2 * student_steps, 2)]


def learned_line(start: int, middle: int, end: int) -> tuple[float, float]:
    """Slope and offset of the student's x as a function of z_t, in closed form: everything is linear."""
    (alpha, sigma), (alpha_end, sigma_end) = level(start), level(end)
    at_0, at_1 = (
        (two_teacher_steps(z, start, middle, end) - sigma_end / sigma * z) / (alpha_end - sigma_end / sigma * alpha)
        for z in (0.0, 1.0)
    )
    return at_1 - at_0, at_0


class Lines(nn.Module):
    """A denoiser whose x is a line over z_t for each timestep, said as v or as x itself."""

    def __init__(self, prediction_type: str, lines: dict[int, tuple[float, float]]):
        super().__init__()
        self.prediction_type = prediction_type
        table = torch.zeros(T, 2)
        for timestep, line in lines.items():
            table[timestep] = torch.tensor(line)
        self.lines = nn.Parameter(table)

    def forward(self, sample, timesteps, labels, augmentation=None):
        slope, offset = self.lines[timesteps][:, :, None, None, None].unbind(1)
        clean = slope * sample + offset
        if self.prediction_type == "sample":
            return clean
        alpha, sigma = (torch.tensor(v, dtype=torch.float32).view(-1, 1, 1, 1) for v in LEVELS[:, timesteps])
        return alpha * (sample - alpha * clean) / sigma - sigma * clean


LEVELS = np.array([level(t) for t in range(T)]).T


def gaussian_teacher(prediction_type: str) -> Lines:
    offsets = [expected_clean(0.0, t) for t in range(T)]
    return Lines(prediction_type, {t: (expected_clean(1.0, t) - offsets[t], offsets[t]) for t in range(T)})


def objective(teacher: nn.Module, student_steps: int, prediction_type: str, scale: float = 1.0, **schedule):
    scheduler = make_scheduler(prediction_type=prediction_type, **schedule)
    steps = StudentSteps.of(T, student_steps)
    return DistillationObjective(teacher, student_schedule(scheduler), steps, prediction_type, scale)


def batch_at(timesteps: torch.Tensor, seed: int = 0, size: int = 4, **values) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(timesteps), 3, size, size)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    labels = {"type": torch.tensor([[FIRE, WATER]]).repeat(len(timesteps), 1)}
    return Batch(images, labels, timesteps, torch.randn(shape, generator=generator), **values)


@pytest.mark.parametrize("student_steps", [32, *STUDENTS])
def test_one_step_of_the_student_lands_where_two_of_the_teacher_do(student_steps):
    noisy = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(student_steps))
    for start, middle, end in steps_of(student_steps):
        reached = two_teacher_steps(noisy, start, middle, end)
        halfway = ddim_step(noisy, expected_clean(noisy, start), as_level(start), as_level(middle))
        of_middle = expected_clean(halfway, middle)
        torch.testing.assert_close(ddim_step(halfway, of_middle, as_level(middle), as_level(end)), reached)
        clean = distillation_target(noisy, reached, as_level(start), as_level(end))
        torch.testing.assert_close(
            ddim_step(noisy, clean, as_level(start), as_level(end)), reached, rtol=0, atol=1e-12
        )
        slope, offset = learned_line(start, middle, end)
        torch.testing.assert_close(clean, slope * noisy + offset, rtol=0, atol=1e-9)
        # It lies between what the teacher expects at its two steps; at the last one it is what it expects at the end.
        low, high = torch.stack([expected_clean(noisy, start), of_middle]).aminmax(dim=0)
        assert ((clean >= low - 1e-9) & (clean <= high + 1e-9)).all()
        if end == -1:
            torch.testing.assert_close(clean, of_middle, rtol=0, atol=1e-12)


@pytest.mark.parametrize("student_steps", [32, *STUDENTS])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_the_student_in_closed_form_has_no_loss(prediction_type, student_steps):
    lines = {step[0]: learned_line(*step) for step in steps_of(student_steps)}
    batch = batch_at(torch.arange(0, T, 7))
    of = objective(gaussian_teacher(prediction_type), student_steps, prediction_type)
    losses = of.losses(Lines(prediction_type, lines), batch)
    assert losses.shape == (len(batch.timesteps),) and losses.dtype == torch.float32
    assert losses.max() < 1e-8
    shifted = {start: (slope, offset + 0.1) for start, (slope, offset) in lines.items()}
    ratio = ALPHA_BAR / (1 - ALPHA_BAR)
    expected = 0.01 * np.maximum(ratio, 1)[of.steps.start[batch.timesteps]]
    losses = of.losses(Lines(prediction_type, shifted), batch).detach()
    np.testing.assert_allclose(losses, expected, rtol=1e-2)


def test_a_linear_student_learns_the_closed_form():
    student, steps = Lines("v_prediction", {}), steps_of(4)
    of = objective(gaussian_teacher("v_prediction"), 4, "v_prediction")
    optimizer = torch.optim.Adam(student.parameters(), lr=0.03)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for step in range(400):
        timesteps = torch.randint(T, (16,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        of.losses(student, batch_at(timesteps, step)).mean().backward()
        optimizer.step()
        rate.step()
    learned = student.lines.detach()
    for start, middle, end in steps:
        np.testing.assert_allclose(learned[start], learned_line(start, middle, end), rtol=0, atol=2e-3)
    assert (learned.abs().sum(dim=1) > 0).sum() == len(steps)  # nothing else has been asked


def test_a_timestep_stands_for_the_step_it_falls_into():
    steps = StudentSteps.of(8, 2)
    assert steps.start.tolist() == [3, 3, 3, 3, 7, 7, 7, 7]
    assert steps.middle.tolist() == [1, 1, 1, 1, 5, 5, 5, 5]
    assert steps.end.tolist() == [-1, -1, -1, -1, 3, 3, 3, 3]
    assert StudentSteps.of(2, 1).start.tolist() == [1, 1]
    for student_steps in (32, *STUDENTS):
        steps = StudentSteps.of(T, student_steps)
        assert (steps.start >= torch.arange(T)).all() and (steps.end < torch.arange(T)).all()
        table = torch.stack([steps.start, steps.middle, steps.end], dim=1)
        assert sorted({tuple(row) for row in table.tolist()}, reverse=True) == steps_of(student_steps)
        shares = torch.bincount(steps.start)[steps.start.unique()] / T  # how often a uniform timestep draws each step
        torch.testing.assert_close(shares, torch.full_like(shares, 1 / student_steps), rtol=0.025, atol=0)


def test_the_error_of_the_clean_picture_weighs_max_snr_1():
    weight = truncated_snr(student_schedule(make_scheduler()), torch.arange(T))
    np.testing.assert_allclose(weight, np.maximum(ALPHA_BAR / (1 - ALPHA_BAR), 1), rtol=1e-4)
    assert weight[-1] == 1 and weight.dtype == torch.float32


class Wordy(nn.Module):
    """A teacher whose x is a number for each first type and timestep, and which notes its calls."""

    def __init__(self):
        super().__init__()
        self.conditioner = SpriteConditioner({"type": list(TYPES)}, embedding_dim=4)
        self.calls: list[tuple[int, int]] = []

    def forward(self, sample, timesteps, labels, augmentation=None):
        self.calls.append((len(sample), 0 if augmentation is None else len(augmentation)))
        clean = 0.02 * labels["type"][:, 0] + timesteps / 10000
        return clean.view(-1, 1, 1, 1).expand_as(sample)


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.5])
def test_guidance_is_folded_in(scale):
    teacher, timesteps = Wordy(), torch.tensor([999, 10])
    batch = batch_at(timesteps, augmentation=torch.zeros(2, 9))
    nothing = teacher.conditioner.any_id("type")
    batch.labels["type"][1] = nothing
    of = objective(teacher, 2, "sample", scale)
    noisy = torch.randn(batch.noise.shape, generator=torch.Generator().manual_seed(5))
    target = of.target(noisy, batch)
    assert teacher.calls == [(2, 2) if scale == 1 else (4, 4)] * 2
    # The first picture goes from 999 by 749 to 499, the second, of which nothing is said, from 499 by 249 to the end.
    words = [0.02 * nothing + scale * 0.02 * (FIRE - nothing), 0.02 * nothing]
    for picture, word, (start, middle, end) in zip((0, 1), words, steps_of(2), strict=True):
        z = noisy[picture].double()
        halfway = ddim(z, word + start / 10000, start, middle)
        reached = ddim(halfway, word + middle / 10000, middle, end)
        (alpha, sigma), (alpha_end, sigma_end) = level(start), level(end)
        expected = (reached - sigma_end / sigma * z) / (alpha_end - sigma_end / sigma * alpha)
        torch.testing.assert_close(target[picture].double(), expected, rtol=0, atol=1e-5)
    assert not target.requires_grad


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("student_steps", STUDENTS)
def test_the_schedulers_steps_are_those_that_were_trained(student_steps, prediction_type, zero_snr):
    trained = make_scheduler(prediction_type=prediction_type, rescale_betas_zero_snr=zero_snr)
    scheduler, schedule = student_scheduler(trained), student_schedule(trained)
    timesteps = set_timesteps(scheduler, student_steps, torch.device("cpu"))
    assert timesteps.tolist() == [start for start, _, _ in steps_of(student_steps)]
    assert torch.equal(timesteps, trailing_timesteps(T, student_steps))
    steps = StudentSteps.of(T, student_steps)
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 3, 8, 8, generator=generator)
    for t in timesteps:
        clean = torch.rand(2, 3, 8, 8, generator=generator) * 2 - 1
        now, then = (noise_level(schedule, of[t].view(1)) for of in (steps.start, steps.end))
        v = now.alpha * (sample - now.alpha * clean) / now.sigma - now.sigma * clean
        following = scheduler_step(scheduler, v if prediction_type == "v_prediction" else clean, t, sample)
        torch.testing.assert_close(following, ddim_step(sample, clean, now, then), rtol=0, atol=1e-5)
        sample = following
    torch.testing.assert_close(sample, clean, rtol=0, atol=1e-5)  # nothing of the noise is left


def student_of(steps: int) -> TrainingConfig:
    return TrainingConfig(distill_from="teacher", distill_teacher_steps=2 * steps)


@pytest.mark.parametrize("student_steps", STUDENTS)
def test_a_saved_student_draws_in_its_steps_and_without_guidance(student_steps, tmp_path):
    teacher = tiny_pipeline()
    denoiser = SimpleNamespace(unet=teacher.unet, conditioner=teacher.conditioner)
    make_pipeline(denoiser, make_scheduler(), student_of(student_steps)).save_pretrained(tmp_path)
    pipeline = PokemonDDPMPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.scheduler) is DPMSolverMultistepScheduler
    assert (pipeline.config.num_inference_steps, pipeline.config.guidance_scale) == (student_steps, 1.0)
    calls = record_calls(pipeline)
    noise = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    drawn = pipeline(["fire", "water", None], latents=noise, output_type="latent").images
    assert calls == [(3, start) for start, _, _ in steps_of(student_steps)]
    # By hand, from the network's v.
    embeddings, sample = pipeline.conditioner.encode(["fire", "water", None]), noise
    for start, _, end in steps_of(student_steps):
        alpha, sigma = level(start)
        with torch.no_grad():
            clean = alpha * sample - sigma * pipeline.unet(sample, start, class_labels=embeddings).sample
        sample = ddim(sample, clean, start, end)
    torch.testing.assert_close(drawn, sample, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def teacher(sprites_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline trained for four updates."""
    folder = tmp_path_factory.mktemp("teacher")
    train([*tiny_flags(folder, sprites_cache), "--validation_steps=0"])
    return folder / "run"


@pytest.fixture
def flags(teacher: Path, sprites_cache: Path, tmp_path: Path) -> list[str]:
    """A halving from 4 steps to 2, into `run`."""
    return [*tiny_flags(tmp_path, sprites_cache)[1:], f"--distill_from={teacher}", "--distill_teacher_steps=4"]


def test_two_halvings_by_the_script(flags: list[str], tmp_path: Path) -> None:
    sheets = []

    def note(pipeline, *_):
        own, order = pipeline.config, pipeline.scheduler.config.solver_order
        sheets.append((own.num_inference_steps, own.guidance_scale, order))

    train([*flags, "--save_images_steps=4", "--report_to=none"], save_sheet=note)
    config = json.loads((tmp_path / "run" / "training_config.json").read_text())
    assert config["distill_guidance_scale"] == 2.0  # the teacher's own
    more = [f"--output_dir={tmp_path / 'one'}", f"--distill_from={tmp_path / 'run'}", "--distill_teacher_steps=2"]
    train([*flags, *more, "--save_images_steps=4"], save_sheet=note)
    assert json.loads((tmp_path / "one" / "training_config.json").read_text())["distill_guidance_scale"] == 1.0
    assert sheets == [(2, 1.0, 1), (1, 1.0, 1)]
    for name, steps in (("run", 2), ("one", 1)):
        pipeline = PokemonDDPMPipeline.from_pretrained(tmp_path / name)
        pipeline.set_progress_bar_config(disable=True)
        calls = record_calls(pipeline)
        assert len(pipeline(["fire", "water"]).images) == 2
        assert calls == [(2, start) for start, _, _ in steps_of(steps)]
        manifest = json.loads((tmp_path / name / "checkpoint-4" / "manifest.json").read_text())
        assert manifest["state"]["metrics"].keys() == {"validation_loss", "train_split_loss"}


def test_the_teacher_stays_as_it_was_and_computes_as_the_student_does(flags: list[str], teacher: Path) -> None:
    saved = load_file(teacher / "unet" / "diffusion_pytorch_model.safetensors")
    with trainer([*flags, "--mixed_precision=bf16"]) as run:
        of, dtypes = run.objective.teacher, set()
        of.unet.conv_in.register_forward_hook(lambda *given: dtypes.add(given[2].dtype))
        assert all(torch.equal(tensor, saved[name]) for name, tensor in run.unwrapped.unet.state_dict().items())
        for _ in range(2):
            run.train_step()
        assert dtypes == {torch.bfloat16}
        assert not of.training and not any(p.requires_grad or p.grad is not None for p in of.parameters())
        assert all(torch.equal(tensor, saved[name]) for name, tensor in of.unet.state_dict().items())
        assert not all(torch.equal(tensor, saved[name]) for name, tensor in run.unwrapped.unet.state_dict().items())


def test_the_teachers_answer_does_not_depend_on_the_step(flags: list[str]) -> None:
    """Its dropout is off, so that the same pictures always have the same target."""
    with trainer(flags) as run:
        batch = batch_at(torch.tensor([999, 200]), size=16)
        one, other = (run.objective.target(batch.noise, batch) for _ in range(2))
        assert torch.equal(one, other)


def test_a_student_learns_no_attribute_its_teacher_lacks(flags: list[str], tmp_path: Path) -> None:
    other = tmp_path / "types-only"
    tiny_pipeline().save_pretrained(other)
    with trainer([*flags, f"--distill_from={other}"]) as run:
        assert list(run.unwrapped.conditioner.vocabulary) == ["type"]
        run.train_step()


EVERYTHING = ["--timestep_sampling=stratified", "--gradient_accumulation_steps=2", "--train_batch_size=4", *AUGMENTED]


def test_it_goes_on_exactly_where_it_stopped(flags: list[str], tmp_path: Path) -> None:
    flags = [*flags, *EVERYTHING, "--validation_steps=2", "--checkpointing_steps=2"]
    train([*flags, f"--output_dir={tmp_path / 'whole'}"])
    assert (tmp_path / "whole" / "checkpoint-2").is_dir()
    train([*flags, "--max_train_steps=4", f"--output_dir={tmp_path / 'parts'}", "--max_train_seconds=1e-9"])
    assert not (tmp_path / "parts" / "checkpoint-2").exists()
    train([*flags, f"--output_dir={tmp_path / 'parts'}", "--resume_from_checkpoint=latest"])
    for step in (2, 4):
        name = f"checkpoint-{step}"
        assert_same_checkpoint(tmp_path / "parts" / name, tmp_path / "whole" / name)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (["--distill_teacher_steps=8"], "--distill_teacher_steps was 4, now 8"),
        (["--distill_guidance_scale=3"], "--distill_guidance_scale was 2.0, now 3.0"),
    ],
)
def test_another_distillation_is_another_run(other: list[str], said: str, flags: list[str]) -> None:
    train([*flags, "--max_train_steps=1", "--validation_steps=0"])
    with pytest.raises(SystemExit, match=said):
        train([*flags, *other, "--resume_from_checkpoint=latest", "--validation_steps=0"])


def test_another_teacher_in_the_same_place_is_another_run(flags: list[str], teacher: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(teacher, tmp_path / "mine")
    flags = [*flags, f"--distill_from={mine}", "--validation_steps=0"]
    train([*flags, "--max_train_steps=1"])
    train([*flags, "--max_train_steps=2", "--resume_from_checkpoint=latest"])
    weights = mine / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    save_file({name: values * 1.01 for name, values in tensors.items()}, weights, {"format": "pt"})
    with pytest.raises(SystemExit, match="the teacher's weights are others"):
        train([*flags, "--max_train_steps=3", "--resume_from_checkpoint=latest"])


def test_a_run_that_distilled_nothing_cannot_go_on_as_one_that_does(flags, teacher, tmp_path):
    manifest = teacher / "checkpoint-4" / "manifest.json"
    state = json.loads(manifest.read_text())["state"]
    with trainer(flags) as run:
        saved = TrainingState(**state)
        older = {name: value for name, value in saved.config.items() if not name.startswith("distill_")}
        for config in (saved.config, older):  # also if it is from before there was distillation
            with pytest.raises(OtherRunError, match="--distill_from was None, now .*--distill_teacher_steps was None"):
                check_unchanged(teacher, replace(saved, config=config), run.state())
        check_unchanged(teacher, replace(saved, config=older), saved)


def test_an_update_reads_nothing(flags: list[str]) -> None:
    """See tests/test_host_reads.py."""
    with trainer([*flags, *EVERYTHING]) as run:
        run.train_step()
        with HostReads() as reads:
            run.train_step()
    assert reads.stacks == []


def pipeline_with(folder: Path, **changes) -> Path:
    pipeline = tiny_pipeline()
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config, **changes)
    PokemonDDPMPipeline(pipeline.unet, pipeline.conditioner, scheduler).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "other", "said"),
    [
        ({"prediction_type": "epsilon"}, [], "predicts epsilon, which at pure noise"),
        ({"prediction_type": "sample"}, [], "needs --prediction_type sample"),
        ({"beta_schedule": "linear"}, [], "needs --ddpm_beta_schedule linear"),
        ({"num_train_timesteps": 500}, [], "needs --ddpm_num_steps 500"),
        ({"rescale_betas_zero_snr": True}, [], "needs --rescale_betas_zero_snr True"),
        ({}, ["--resolution=32"], "needs --resolution 16"),
        ({}, ["--distill_teacher_steps=96"], "96: 96 steps of 1000 start between two timesteps, and rounding errors"),
    ],
)
def test_another_kind_of_teacher_is_refused(changes, other, said, flags, tmp_path):
    folder = pipeline_with(tmp_path / "other", **changes)
    with pytest.raises(SystemExit, match=said):
        train([*flags, f"--distill_from={folder}", *other])
    assert not (tmp_path / "run").exists()


def test_a_missing_teacher_is_told(flags: list[str]) -> None:
    with pytest.raises(SystemExit, match="error: There is no model folder '/nowhere'"):
        train([*flags, "--distill_from=/nowhere"])


def test_a_teacher_with_a_learned_variance_is_refused(flags, sprites_cache, tmp_path):
    (tmp_path / "learned").mkdir()
    options = ["--variance_type=learned_range", "--max_train_steps=1", "--validation_steps=0"]
    train([*tiny_flags(tmp_path / "learned", sprites_cache), *options])
    with pytest.raises(SystemExit, match="also predicts a variance"):
        train([*flags, f"--distill_from={tmp_path / 'learned' / 'run'}"])


def test_a_student_teaches_its_own_steps_only(flags, tmp_path):
    student = tiny_pipeline()
    denoiser = SimpleNamespace(unet=student.unet, conditioner=student.conditioner)
    make_pipeline(denoiser, make_scheduler(), student_of(8)).save_pretrained(tmp_path / "student")
    with pytest.raises(
        SystemExit, match="distilled to 8 steps and knows no others: it needs --distill_teacher_steps 8"
    ):
        train([*flags, f"--distill_from={tmp_path / 'student'}"])
