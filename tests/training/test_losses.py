"""The losses of training and of distillation, against computations by hand in float64."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pokemon_ddpm import SpriteConditioner
from pokemon_ddpm.augmentation import AUGMENTATION_DIM
from pokemon_ddpm.diffusion import NoiseSchedule, make_scheduler
from pokemon_ddpm.distillation import StudentSteps, student_schedule, student_scheduler
from pokemon_ddpm.models import ConditionalDenoiser
from pokemon_ddpm.training.batches import Batch
from pokemon_ddpm.training.config import TrainingConfig
from pokemon_ddpm.training.losses import DistillationLoss, check_teacher
from pokemon_ddpm.vocabulary import TYPES
from tests.test_diffusion import ALPHA_BAR, PREDICTION_TYPES, T, cosine_betas
from tests.tiny_models import tiny_pipeline
from tests.training.runs import load_script

BETA, BEFORE = cosine_betas(), np.concatenate([[1], ALPHA_BAR[:-1]])
FIRE, WATER, ANY = 6, 17, 19
TIMESTEPS = [0, 1, 300, 700, 990]


def random(count: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def batch_at(timesteps: list[int], **values: torch.Tensor) -> Batch:
    count, generator = len(timesteps), torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = {"type": torch.tensor([[FIRE, WATER]]).repeat(count, 1)}
    return Batch(images, labels, torch.tensor(timesteps), random(count, seed=2), **values)


def training_losses(batch: Batch, prediction: torch.Tensor, **settings: object) -> torch.Tensor:
    """`Trainer.losses` of a network with this prediction."""
    run = SimpleNamespace(
        distillation=None, schedule=NoiseSchedule.of(make_scheduler()), config=TrainingConfig(**settings)
    )
    given: list[torch.Tensor] = []

    def denoiser(*arguments: torch.Tensor) -> torch.Tensor:
        given.extend(arguments)
        return prediction

    losses = load_script().Trainer.losses(run, denoiser, batch)
    alpha_bar = torch.from_numpy(ALPHA_BAR)[batch.timesteps].view(-1, 1, 1, 1)
    noisy = alpha_bar.sqrt() * batch.clean() + (1 - alpha_bar).sqrt() * batch.noise
    torch.testing.assert_close(given[0].double(), noisy, rtol=1e-5, atol=1e-6)
    assert given[1:] == [batch.timesteps, batch.labels, batch.augmentation]
    return losses


def by_hand(batch: Batch, prediction: torch.Tensor, kind: str, gamma: float, i: int) -> float:
    """min(SNR, gamma) times the error of x_0, as an error of the prediction (Hang et al. 2023)."""
    bar = ALPHA_BAR[batch.timesteps[i]]
    clean, noise = batch.clean()[i].double(), batch.noise[i].double()
    target = {
        "epsilon": noise,
        "v_prediction": math.sqrt(bar) * noise - math.sqrt(1 - bar) * clean,
        "sample": clean,
    }[kind]
    snr = bar / (1 - bar)
    weight = (min(snr, gamma) if gamma else snr) / {"epsilon": snr, "v_prediction": snr + 1, "sample": 1}[kind]
    return weight * (prediction[i].double() - target).square().mean().item()


@pytest.mark.parametrize("gamma", [0.0, 5.0])
@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_the_loss_of_each_prediction_type(kind, gamma):
    augmentation = torch.zeros(len(TIMESTEPS), AUGMENTATION_DIM)
    batch, prediction = batch_at(TIMESTEPS, augmentation=augmentation), random(len(TIMESTEPS))
    losses = training_losses(batch, prediction, prediction_type=kind, snr_gamma=gamma)
    assert losses.dtype == torch.float32
    expected = [by_hand(batch, prediction, kind, gamma, i) for i in range(len(TIMESTEPS))]
    assert losses.tolist() == pytest.approx(expected, rel=1e-4)


def upper_tail(z: torch.Tensor) -> torch.Tensor:
    return 0.5 * torch.erfc(z / math.sqrt(2))


def bound_by_hand(batch: Batch, prediction: torch.Tensor, i: int) -> float:
    """0.001 T L_{t-1}, at the first timestep 0.001 T L_0 (Nichol & Dhariwal 2021), of a network that predicts x_0."""
    t = int(batch.timesteps[i])
    clean, noise = batch.clean()[i].double(), batch.noise[i].double()
    noisy = math.sqrt(ALPHA_BAR[t]) * clean + math.sqrt(1 - ALPHA_BAR[t]) * noise
    of_clean = math.sqrt(BEFORE[t]) * BETA[t] / (1 - ALPHA_BAR[t])
    of_noisy = math.sqrt(1 - BETA[t]) * (1 - BEFORE[t]) / (1 - ALPHA_BAR[t])
    mean = of_clean * prediction[i, :3].double() + of_noisy * noisy
    s = max(t, 1)  # beta_tilde is 0 at the first timestep
    smallest = (1 - BEFORE[s]) / (1 - ALPHA_BAR[s]) * BETA[s]
    share = (prediction[i, 3:].double() + 1) / 2
    variance = (share * math.log(BETA[t]) + (1 - share) * math.log(smallest)).exp()
    if t:
        true_mean = of_clean * clean + of_noisy * noisy
        terms = ((variance / smallest).log() + (smallest + (true_mean - mean) ** 2) / variance - 1) / 2
    else:  # the mass within half a grey level; the outer cells are infinite
        low, high = ((clean + side / 255 - mean) / variance.sqrt() for side in (-1, 1))
        low[clean < -0.999], high[clean > 0.999] = -math.inf, math.inf
        terms = -(upper_tail(low) - upper_tail(high)).log()
    return 0.001 * T * terms.mean().item()


def test_a_learned_variance_adds_its_bound_which_does_not_train_the_mean():
    batch = batch_at(TIMESTEPS)
    near = batch.clean() + 0.01 * random(len(TIMESTEPS))
    prediction = torch.cat([near, 0.3 * random(len(TIMESTEPS), seed=3)], dim=1).requires_grad_()
    losses = training_losses(batch, prediction, prediction_type="sample", variance_type="learned_range")
    values = prediction.detach()
    plain = [by_hand(batch, values[:, :3], "sample", 5.0, i) for i in range(len(TIMESTEPS))]
    bound = [bound_by_hand(batch, values, i) for i in range(len(TIMESTEPS))]
    assert losses.tolist() == pytest.approx([sum(both) for both in zip(plain, bound, strict=True)], rel=1e-3)
    losses.sum().backward()
    alone = near.clone().requires_grad_()
    training_losses(batch, alone, prediction_type="sample").sum().backward()
    torch.testing.assert_close(prediction.grad[:, :3], alone.grad)
    assert prediction.grad[:, 3:].abs().min() > 0


# Distillation


class LabelTeacher(nn.Module):
    """A teacher whose x depends on the first type and the timestep only."""

    def __init__(self):
        super().__init__()
        self.conditioner = SpriteConditioner({"type": list(TYPES)}, embedding_dim=4)
        self.calls: list[int] = []

    @staticmethod
    def clean(label: int, timestep: int) -> float:
        return 0.02 * label + timestep / 10000

    def forward(self, sample, timesteps, labels, augmentation=None):
        self.calls.append(len(sample))
        assert augmentation is None or len(augmentation) == len(sample)
        return self.clean(labels["type"][:, 0], timesteps).view(-1, 1, 1, 1).expand_as(sample)


def level(timestep: int) -> tuple[float, float]:
    bar = ALPHA_BAR[timestep] if timestep >= 0 else 1.0
    return math.sqrt(bar), math.sqrt(1 - bar)


def ddim(noisy: torch.Tensor, clean: float, now: int, then: int) -> torch.Tensor:
    """The same noise at another level (Song et al. 2021)."""
    (alpha, sigma), (alpha_then, sigma_then) = level(now), level(then)
    return alpha_then * clean + sigma_then * (noisy - alpha * clean) / sigma


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.5])
def test_the_target_is_reached_by_two_guided_ddim_steps_of_the_teacher(scale):
    """Two images: one from 999 to 499, one without conditions from 499 to the clean image."""
    teacher, steps = LabelTeacher(), [(999, 749, 499), (499, 249, -1)]
    loss = DistillationLoss(teacher, student_schedule(make_scheduler()), StudentSteps.of(T, 2), "sample", scale)
    batch = batch_at([900, 10], augmentation=torch.zeros(2, AUGMENTATION_DIM))
    batch.labels["type"][1] = ANY
    noisy = random(2)
    target = loss.target(noisy, batch)
    assert teacher.calls == [2 if scale == 1 else 4] * 2 and not target.requires_grad
    for i, (start, middle, end) in enumerate(steps):
        label, z = int(batch.labels["type"][i, 0]), noisy[i].double()
        guided = [
            teacher.clean(ANY, t) + scale * (teacher.clean(label, t) - teacher.clean(ANY, t)) for t in (start, middle)
        ]
        reached = ddim(ddim(z, guided[0], start, middle), guided[1], middle, end)
        (alpha, sigma), (alpha_end, sigma_end) = level(start), level(end)
        expected = (reached - sigma_end / sigma * z) / (alpha_end - sigma_end / sigma * alpha)
        torch.testing.assert_close(target[i].double(), expected, rtol=0, atol=1e-5)

    student = torch.full((2, 3, 8, 8), 0.3)
    losses = loss(lambda *_: student, batch)
    alpha, sigma = (torch.tensor([level(start)[k] for start, _, _ in steps]).view(-1, 1, 1, 1) for k in (0, 1))
    error = (student - loss.target((alpha * batch.clean() + sigma * batch.noise).float(), batch)).square()
    weights = torch.tensor([max(ALPHA_BAR[start] / (1 - ALPHA_BAR[start]), 1) for start, _, _ in steps])
    torch.testing.assert_close(losses, (weights * error.mean(dim=(1, 2, 3))).float(), rtol=1e-4, atol=1e-6)


def test_the_teacher_is_a_frozen_copy_of_the_student_at_the_start():
    pipeline = tiny_pipeline(size=8)
    student = ConditionalDenoiser(pipeline.unet, pipeline.conditioner).train()
    config = TrainingConfig(distill_from="a", distill_teacher_steps=4, distill_guidance_scale=2.0)
    loss = DistillationLoss.of(config, make_scheduler(), student)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    loss(student, batch_at([999, 10])).sum().backward()
    optimizer.step()
    assert not torch.equal(student.unet.conv_in.weight, before["unet.conv_in.weight"]) and not loss.teacher.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in loss.teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in loss.teacher.state_dict().items())
    assert (loss.guidance_scale, loss.prediction_type) == (2.0, "v_prediction")
    assert loss.steps.start.unique().tolist() == [499, 999]


def test_which_teachers_are_refused():
    config = TrainingConfig(distill_from="my/teacher", distill_teacher_steps=8)
    with pytest.raises(ValueError, match="^--distill_from my/teacher also predicts a variance"):
        check_teacher(tiny_pipeline(out_channels=6), config)
    with pytest.raises(ValueError, match="^--distill_from my/teacher predicts epsilon, .* use a teacher trained with"):
        check_teacher(tiny_pipeline("epsilon"), config)
    student = tiny_pipeline()
    student.scheduler = student_scheduler(student.scheduler)
    student.register_to_config(num_inference_steps=4)
    with pytest.raises(ValueError, match="was itself distilled to 4 steps and needs --distill_teacher_steps 4"):
        check_teacher(student, config)
    with pytest.raises(ValueError, match="96 steps of 1000 timesteps depend on rounding"):
        check_teacher(tiny_pipeline(), TrainingConfig(distill_from="a", distill_teacher_steps=96))

    check_teacher(tiny_pipeline(), config)
    assert config.distill_guidance_scale == 2.0  # the default of the pipeline
    check_teacher(
        student, given := TrainingConfig(distill_from="a", distill_teacher_steps=4, distill_guidance_scale=1.5)
    )
    assert given.distill_guidance_scale == 1.5
