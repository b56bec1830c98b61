"""The losses of training and of distillation, against computations by hand in float64."""

import math
from types import MethodType

import pytest
import torch
from torch import nn

from pokemon_ddpm import SpriteConditioner
from pokemon_ddpm.diffusion import ConditionalDenoiser, NoiseSchedule, bound_term, make_scheduler, student_scheduler
from pokemon_ddpm.pipelines.sampling import set_timesteps
from pokemon_ddpm.training import losses as module
from pokemon_ddpm.training.augmentation import AUGMENTATION_DIM
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.losses import CLEAN, DistillationLoss, check_teacher, other_loss, predict, student_steps
from pokemon_ddpm.vocabulary import TYPES, VIEWS
from tests.test_diffusion import ALPHA_BAR, T, as_prediction
from tests.tiny_models import tiny_pipeline
from tests.training.runs import load_script

FIRE, WATER, ANY = 6, 17, 19
TIMESTEPS = [0, 1, 300, 700, 990]


def random(count: int, seed: int = 0, size: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def batch_at(timesteps: list[int], size: int = 8) -> Batch:
    count, generator = len(timesteps), torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    labels = {"type": torch.tensor([[FIRE, WATER]]).repeat(count, 1)}
    augmentation = torch.zeros(count, AUGMENTATION_DIM)
    return Batch(images, labels, torch.tensor(timesteps), random(count, 2, size), augmentation)


def levels(timesteps: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """alpha_t and sigma_t, float64 (B, 1, 1, 1); -1 is the clean image."""
    alpha_bar = torch.tensor([ALPHA_BAR[t] if t >= 0 else 1.0 for t in timesteps], dtype=torch.float64)
    return alpha_bar.sqrt().view(-1, 1, 1, 1), (1 - alpha_bar).sqrt().view(-1, 1, 1, 1)


def schedule_of(kind: str = "sample", s: float = 1.0) -> NoiseSchedule:
    return NoiseSchedule.of(make_scheduler(prediction_type=kind), scaling_factor=s)


def training_losses(batch: Batch, prediction: torch.Tensor, s: float = 1.0, **settings: object) -> torch.Tensor:
    """The losses of a network with this prediction and scaling factor."""
    config, given = TrainingConfig(**settings), []
    is_learned = config.variance_type == "learned_range"
    plain_or_other = module.learned_variance_loss if is_learned else load_script().plain_loss
    denoiser = lambda *arguments: given.extend(arguments) or prediction  # noqa: E731
    losses = plain_or_other(denoiser, batch, schedule_of(config.prediction_type, s), config)
    alpha, sigma = levels(batch.timesteps.tolist())
    noisy = alpha * s * batch.clean() + sigma * batch.noise
    torch.testing.assert_close(given[0].double(), noisy, rtol=1e-5, atol=1e-6)
    assert given[1:] == [batch.timesteps, batch.labels, batch.augmentation]
    assert losses.dtype == torch.float32
    return losses


def by_hand(batch: Batch, prediction: torch.Tensor, kind: str, gamma: float, s: float, floor=0.0) -> torch.Tensor:
    """min(SNR, gamma), or `floor`, times the error of s x_0, as an error of the prediction (Hang et al. 2023)."""
    alpha, sigma = levels(batch.timesteps.tolist())
    clean, noise, snr = s * batch.clean().double(), batch.noise.double(), (alpha / sigma).square().flatten()
    target = {"epsilon": noise, "v_prediction": alpha * noise - sigma * clean, "sample": clean}[kind]
    clean_weight = (snr.clamp(max=gamma) if gamma else snr).clamp(min=floor)
    weight = clean_weight / {"epsilon": snr, "v_prediction": snr + 1, "sample": 1}[kind]
    return weight * (prediction - target).square().mean(dim=(1, 2, 3))


@pytest.mark.parametrize("s", [1.0, 0.5])
@pytest.mark.parametrize("gamma", [0.0, 5.0])
@pytest.mark.parametrize(("kind", "floor"), [("epsilon", 0.0), ("v_prediction", 0.5), ("sample", 0.0)])
def test_the_loss_of_each_prediction_type(kind, floor, gamma, s):
    batch, prediction = batch_at(TIMESTEPS), random(len(TIMESTEPS)).bfloat16()
    losses = training_losses(batch, prediction, s, prediction_type=kind, snr_gamma=gamma, snr_floor=floor)
    torch.testing.assert_close(losses.double(), by_hand(batch, prediction, kind, gamma, s, floor), rtol=1e-4, atol=0)


@pytest.mark.parametrize("s", [1.0, 0.5])
def test_a_learned_variance_adds_its_bound_which_does_not_train_the_mean(s):
    batch, noisier = batch_at(TIMESTEPS), 0.01 * random(len(TIMESTEPS))
    clean = s * batch.clean()
    both = torch.cat([clean + noisier, 30 * noisier], dim=1).requires_grad_()
    losses = training_losses(batch, both, s, prediction_type="sample", variance_type="learned_range")
    alpha, sigma = levels(TIMESTEPS)
    noisy = alpha * clean + sigma * batch.noise
    schedule, (mean, learned) = schedule_of(s=s), both.detach().double().chunk(2, dim=1)
    log_var = schedule.learned_log_variance(learned, batch.timesteps)
    bound = bound_term(schedule, mean, log_var, clean, noisy.double(), batch.timesteps)
    expected = by_hand(batch, both[:, :3].detach(), "sample", 5.0, s) + 0.001 * T * bound  # Nichol & Dhariwal 2021
    torch.testing.assert_close(losses.detach().double(), expected, rtol=1e-4, atol=0)
    losses.sum().backward()
    alone = both[:, :3].detach().requires_grad_()
    training_losses(batch, alone, s, prediction_type="sample").sum().backward()
    torch.testing.assert_close(both.grad[:, :3], alone.grad)
    assert both.grad[:, 3:].abs().min() > 0


def clean_of(label, timestep):
    """x of the teacher, which depends on the first type and the timestep only."""
    return 0.02 * label + timestep / 10000


class LabelTeacher(nn.Module):
    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.conditioner = kind, SpriteConditioner({"type": list(TYPES)}, embedding_dim=4)

    def forward(self, sample, timesteps, labels, augmentation):
        assert len(augmentation) == len(sample)
        clean = clean_of(labels["type"][:, 0], timesteps).view(-1, 1, 1, 1).expand_as(sample)
        return as_prediction(self.kind, clean, sample, *levels(timesteps.tolist())).float()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("scale", "s", "kind"), [(1, 1, "sample"), (2, 0.5, "v_prediction"), (3.5, 1, "sample")])
def test_the_target_is_reached_by_two_guided_steps_of_the_teacher(scale, s, kind, order):
    """Two images: one from 999 to 499, one without conditions from 499 to the clean image."""
    start, middle, end, batch = [999, 499], [749, 249], [499, -1], batch_at([900, 10])
    config = TrainingConfig(distill_from="a", distill_teacher_steps=4, prediction_type=kind)
    teacher = tiny_pipeline(defaults={"guidance_scale": scale})
    if order == 1:
        teacher.scheduler = student_scheduler(teacher.scheduler)  # it was itself distilled
    loss = DistillationLoss(config, schedule_of(kind, s), LabelTeacher(kind), teacher)
    assert not loss.frozen_model.training
    batch.labels["type"][1] = ANY

    def guided_clean(now: list[int]) -> torch.Tensor:
        pairs = zip(batch.labels["type"][:, 0].tolist(), now, strict=True)
        clean = [clean_of(ANY, t) + scale * (clean_of(label, t) - clean_of(ANY, t)) for label, t in pairs]
        return torch.tensor(clean, dtype=torch.float64).view(-1, 1, 1, 1)

    def step(z: torch.Tensor, clean: torch.Tensor, now: list[int], then: list[int]) -> torch.Tensor:
        """The same noise at another level (Song et al. 2021)."""
        (alpha, sigma), (alpha_then, sigma_then) = levels(now), levels(then)
        return alpha_then * clean + sigma_then * (z - alpha * clean) / sigma

    first, second = guided_clean(start), guided_clean(middle)
    if order == 2:  # the line through both predictions, in half the log SNR, halfway to the end; none to a clean image
        at = [math.log(alpha / sigma) for alpha, sigma in (levels([t]) for t in (999, 749, 499))]
        second[0] += (second[0] - first[0]) * ((at[1] + at[2]) / 2 - at[1]) / (at[1] - at[0])
    (alpha, sigma), (alpha_end, sigma_end) = levels(start), levels(end)
    noisy = alpha * s * batch.clean() + sigma * batch.noise
    reached = step(step(noisy, first, start, middle), second, middle, end)
    expected = (reached - sigma_end / sigma * noisy) / (alpha_end - sigma_end / sigma * alpha)
    torch.testing.assert_close(loss.target(noisy.float(), batch).double(), expected, rtol=0, atol=1e-5)
    prediction = as_prediction(kind, torch.full((2, 3, 8, 8), 0.3), noisy, alpha, sigma)
    weight, distance = (alpha / sigma).square().flatten().clamp(min=1), (0.3 - expected).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(loss(lambda *_: prediction, batch).double(), weight * distance, rtol=1e-4, atol=0)


def test_which_teachers_are_refused():
    student = tiny_pipeline()
    student.scheduler = student_scheduler(student.scheduler)
    student.register_to_config(num_inference_steps=4)
    for pipeline, steps, message in (
        (tiny_pipeline(out_channels=6), 8, "^--distill_from my/teacher predicts epsilon, .* or a variance"),
        (tiny_pipeline("epsilon"), 8, "^--distill_from my/teacher predicts epsilon, "),
        (student, 8, "was itself distilled to 4 steps and needs --distill_teacher_steps 4"),
        (tiny_pipeline(), 96, "96: the steps depend on rounding"),
    ):
        with pytest.raises(ValueError, match=message):
            check_teacher(pipeline, TrainingConfig(distill_from="my/teacher", distill_teacher_steps=steps))
    for pipeline in (tiny_pipeline(), student):
        check_teacher(pipeline, TrainingConfig(distill_from="a", distill_teacher_steps=4))


STUDENTS = [32, 16, 8, 4, 2, 1]


def steps_of(count: int) -> list[tuple[int, int, int]]:
    """(start, middle, end) of each step of the student, written out."""
    edges = [round(T - i * T / (2 * count)) - 1 for i in range(2 * count)] + [CLEAN]
    return [tuple(edges[i : i + 3]) for i in range(0, 2 * count, 2)]


def test_every_timestep_belongs_to_the_step_that_contains_it():
    start, middle, end = student_steps(8, 2)
    assert start.tolist() == [3, 3, 3, 3, 7, 7, 7, 7] and middle.tolist() == [1, 1, 1, 1, 5, 5, 5, 5]
    assert end.tolist() == [CLEAN] * 4 + [3] * 4
    for count in STUDENTS:
        start, _, end = table = torch.stack(student_steps(T, count))
        assert (start >= torch.arange(T)).all() and (end < torch.arange(T)).all()
        assert sorted({tuple(row) for row in table.T.tolist()}, reverse=True) == steps_of(count)
        shares = torch.bincount(start)[start.unique()] / T  # of a uniformly sampled timestep
        torch.testing.assert_close(shares, torch.full_like(shares, 1 / count), rtol=0.025, atol=0)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
@pytest.mark.parametrize("count", STUDENTS[1:])
def test_the_scheduler_takes_the_steps_that_are_trained(count, prediction_type):
    trained = make_scheduler(prediction_type=prediction_type)
    scheduler, schedule = student_scheduler(trained), NoiseSchedule.of(trained)
    timesteps = set_timesteps(scheduler, count, "cpu")
    assert timesteps.tolist() == [start for start, _, _ in steps_of(count)]
    (starts, _, ends), generator = student_steps(T, count), torch.Generator().manual_seed(0)
    sample = torch.randn(2, 3, 8, 8, generator=generator)
    for t in timesteps:
        clean = torch.rand(2, 3, 8, 8, generator=generator) * 2 - 1
        now, then = (module.noise_level(schedule, table[t].view(1)) for table in (starts, ends))
        following = scheduler.step(as_prediction(prediction_type, clean, sample, *now), t, sample).prev_sample
        torch.testing.assert_close(following, module.ddim_step(sample, clean, now, then), rtol=0, atol=1e-5)
        sample = following
    torch.testing.assert_close(sample, clean, rtol=0, atol=1e-5)  # no noise is left


def guided_loss(folder, vocabulary=None, channels=3, **settings):
    """The loss, the student and the worse model, which is saved in the folder."""
    worse, better = (tiny_pipeline("sample", 8, vocabulary, channels=channels) for _ in range(2))
    for part, factor in ((worse.unet, 0.5), (better.unet, 2.0)):
        torch.nn.init.normal_(part.conv_out.weight, std=factor / 10)
    worse.save_pretrained(folder)
    config = TrainingConfig(pretrained_model_name_or_path="a", autoguidance_from=str(folder), **settings)
    student = ConditionalDenoiser(better.unet, better.conditioner)
    loss = other_loss(config, schedule_of(s=student.scaling_factor), student, None)
    return loss, student, ConditionalDenoiser(worse.unet, worse.conditioner)


def across(difference: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """The part of the difference that is orthogonal to x, by least squares, of each image."""
    pairs = zip(difference, clean.reshape(len(clean), -1, 1), strict=True)
    return torch.stack([d - (x @ torch.linalg.lstsq(x, d.reshape(-1, 1)).solution).view_as(d) for d, x in pairs])


def guided(loss: module.AutoguidanceLoss, batch: Batch, denoiser: nn.Module, worse: nn.Module, scales: torch.Tensor):
    """x_t, x_better + (scales - 1) of the orthogonal part of x_better - x_worse, x_better, x_worse: (B, C, S, S)."""
    alpha, sigma = levels(batch.timesteps.tolist())
    noisy = (alpha * loss.schedule.scaling_factor * batch.clean() + sigma * batch.noise).float()
    given = (noisy, batch.timesteps, batch.labels, batch.augmentation)
    better, other = (model(*given).detach().double() for model in (denoiser, worse))
    return noisy, better + (scales.view(-1, 1, 1, 1) - 1) * across(better - other, better), better, other


@pytest.mark.parametrize("scale", [1.0, 1.5, 3.0])
def test_between_high_and_low_noise_the_target_is_that_of_autoguidance(tmp_path, scale):
    loss, denoiser, worse = guided_loss(tmp_path, autoguidance_scale=scale, snr_floor=0.3)
    timesteps = [10, 99, 100, 500, 799, 800, 990]
    batch = batch_at(timesteps)
    _, target, _, _ = guided(loss, batch, denoiser, worse, torch.tensor([1, 1, scale, scale, scale, 1, 1]))
    plain = torch.tensor([0, 1])  # at less noise it is x_0, at more that of the network at the start
    target[plain] = loss.schedule.scaling_factor * batch.clean()[plain].double()
    prediction = torch.full((7, 3, 8, 8), 0.3, requires_grad=True)
    losses = loss(lambda *_: prediction, batch)
    losses.sum().backward()
    alpha, sigma = levels(timesteps)
    weight, distance = (alpha / sigma).square().clamp(0.3, 5), prediction.detach() - target
    expected = (weight * distance**2).mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses.detach().double(), expected, rtol=1e-3, atol=1e-6)
    gradient = 2 * weight * distance / distance[0].numel()
    torch.testing.assert_close(prediction.grad.double(), gradient, rtol=1e-3, atol=1e-6)


def test_the_better_model_can_be_given(tmp_path):
    """x + (w - 1) times the part of x_better - x_worse orthogonal to x, which is that of the network at the start."""
    better = tiny_pipeline("sample", 8)
    torch.nn.init.normal_(better.unet.conv_out.weight, std=0.3)
    better.save_pretrained(tmp_path / "better")
    given = {"autoguidance_scale": 3.0, "autoguidance_better": str(tmp_path / "better")}
    given["autoguidance_interval"] = [0.0, 0.5]
    loss, denoiser, worse = guided_loss(tmp_path / "worse", **given)
    batch = batch_at([0, 100, 300, 499, 500])
    assert loss.is_guided(batch).all()
    noisy, target, clean, other = guided(loss, batch, denoiser, worse, torch.ones(5))
    given = (noisy, batch.timesteps, batch.labels, batch.augmentation)
    difference = ConditionalDenoiser(better.unet, better.conditioner)(*given).detach() - other
    target[:4] += 2 * across(difference, clean)[:4]  # above its timesteps it is x
    torch.testing.assert_close(loss.target(noisy, batch).double(), target, rtol=1e-3, atol=1e-5)


def test_all_models_of_autoguidance_compute_in_the_same_precision(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path)
    pipeline, batch = tiny_pipeline(), batch_at([300, 700], 16)
    denoiser = ConditionalDenoiser(pipeline.unet, pipeline.conditioner)
    in_bf16 = torch.autocast("cpu", torch.bfloat16)(ConditionalDenoiser.forward)  # as Accelerate does it
    denoiser.forward = MethodType(in_bf16, denoiser)
    settings = {"autoguidance_from": str(tmp_path), "prediction_type": "v_prediction"}
    config = TrainingConfig(pretrained_model_name_or_path="a", **settings)
    loss, noisy = other_loss(config, schedule_of("v_prediction"), denoiser, None), batch.clean()
    # The worse model has the same weights, so guidance changes nothing: x_0 = alpha x_t - sigma v.
    (alpha, sigma), prediction = levels([300, 700]), predict(denoiser, batch, noisy, batch.timesteps).double()
    expected = alpha * noisy - sigma * prediction
    torch.testing.assert_close(loss.target(noisy, batch).double(), expected, rtol=0, atol=1e-5)


def test_images_without_any_condition_learn_from_themselves(tmp_path):
    loss, denoiser, worse = guided_loss(tmp_path, {"type": TYPES, "view": VIEWS}, autoguidance_scale=3.5)
    batch = batch_at([500] * 4)
    batch.labels["type"] = torch.tensor([[FIRE, WATER], [ANY, FIRE], [ANY, ANY], [ANY, ANY]])
    batch.labels["view"] = torch.tensor([2, 2, 1, 2])
    assert loss.start.conditioner.any_ids == {"type": ANY, "view": 2}
    noisy, target, _, _ = guided(loss, batch, denoiser, worse, torch.full((4,), 3.5))
    target[3] = batch.clean()[3].double()
    weight = loss.schedule.clean_weight(loss.config.snr_gamma, loss.config.snr_floor)[batch.timesteps]
    expected = (weight * target.square().mean(dim=(1, 2, 3))).float()
    torch.testing.assert_close(loss(lambda *_: torch.zeros_like(noisy), batch), expected, rtol=1e-3, atol=1e-5)


def test_which_worse_models_are_refused(tmp_path):
    student = ConditionalDenoiser(tiny_pipeline("sample").unet, tiny_pipeline().conditioner)
    config = TrainingConfig(pretrained_model_name_or_path="a", autoguidance_from=str(tmp_path))
    for pipeline, message in (
        (tiny_pipeline("sample", 8), "sample_size"),
        (tiny_pipeline("v_prediction"), "prediction_type"),
        (tiny_pipeline("sample", vocabulary={"type": ["cat", "dog"]}), "conditions"),
    ):
        pipeline.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=f"^--autoguidance_from .* differs from the model in its {message}.$"):
            other_loss(config, schedule_of(s=student.scaling_factor), student, None)
    assert other_loss(TrainingConfig(), schedule_of(), student, None) is None
